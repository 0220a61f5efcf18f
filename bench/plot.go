package main

import (
	"bytes"
	"encoding/xml"
	"fmt"
	"math"

	"github.com/sallyport/sallyport/bench/figure"
)

// plot is bars beside their names, each with its figure and how far its rounds lie apart.
type plot struct {
	Name, Title, Unit string
	Group             string // of rows, at which it is shown
	Log               bool   // the bars' lengths are logarithms
	bars              []bar
}

// bar is one or more figures, one behind the other.
type bar struct {
	name  string
	parts []figure.Summary
}

func (p *plot) add(name string, parts ...figure.Samples) {
	b := bar{name: name}
	for _, s := range parts {
		if len(s) > 0 {
			b.parts = append(b.parts, s.Summarize())
		}
	}
	p.bars = append(p.bars, b)
}

// The plot's measures, in pixels. Texts on the left take a third.
const (
	plotWidth  = 720
	barsFrom   = 190
	barsWidth  = 400
	barHeight  = 16
	barEvery   = 24
	aboveBars  = 40
	belowBars  = 12
	plotColour = "#3566a8"
	lighter    = "#8fb0dc"
)

// svg draws the plot on a white ground, so that it can be read on any page.
func (p plot) svg() []byte {
	var b bytes.Buffer
	height := aboveBars + barEvery*len(p.bars) + belowBars
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" width="%d" height="%d"`+
		` font-family="sans-serif" font-size="12">`+"\n", plotWidth, height, plotWidth, height)
	fmt.Fprintf(&b, `<rect width="%d" height="%d" fill="#fff"/>`+"\n", plotWidth, height)
	fmt.Fprintf(&b, `<text x="12" y="22" font-size="14" font-weight="bold">%s</text>`+"\n",
		escaped(p.Title))
	scale := p.scale()
	for i, bar := range p.bars {
		y := aboveBars + barEvery*i
		fmt.Fprintf(&b, `<text x="%d" y="%d" text-anchor="end">%s</text>`+"\n", barsFrom-8, y+12,
			escaped(bar.name))
		p.draw(&b, bar, y, scale)
	}
	b.WriteString("</svg>\n")
	return b.Bytes()
}

func (p plot) draw(b *bytes.Buffer, bar bar, y int, scale func(float64) float64) {
	sum, label := 0.0, ""
	for i, part := range bar.parts {
		from := scale(sum)
		sum += part.Median
		fmt.Fprintf(b, `<rect x="%.1f" y="%d" width="%.1f" height="%d" fill="%s"/>`+"\n",
			barsFrom+from, y, scale(sum)-from, barHeight, []string{plotColour, lighter}[i%2])
		if i > 0 {
			label += " + "
		}
		label += figure.Format(part.Median)
	}
	end := barsFrom + scale(sum)
	if len(bar.parts) == 1 && bar.parts[0].Rounds > 1 { // from the least to the greatest
		least, greatest := barsFrom+scale(bar.parts[0].Least), barsFrom+scale(bar.parts[0].Greatest)
		fmt.Fprintf(b, `<path d="M%.1f %dH%.1f" stroke="#222"/>`+"\n", least, y+barHeight/2, greatest)
		end = max(end, greatest)
	}
	fmt.Fprintf(b, `<text x="%.1f" y="%d">%s %s</text>`+"\n", end+6, y+12, label, escaped(p.Unit))
}

// scale returns what turns a figure into a length.
func (p plot) scale() func(float64) float64 {
	most := 0.0
	for _, bar := range p.bars {
		sum := 0.0
		for _, part := range bar.parts {
			sum += part.Median
			most = max(most, sum, part.Greatest)
		}
	}
	if p.Log {
		return func(f float64) float64 { return barsWidth * math.Log1p(f) / math.Log1p(most) }
	}
	return func(f float64) float64 { return barsWidth * f / most }
}

func escaped(text string) string {
	var b bytes.Buffer
	if err := xml.EscapeText(&b, []byte(text)); err != nil {
		panic("bench: " + err.Error()) // a Buffer takes everything
	}
	return b.String()
}
