package token

import "strings"

// decimal is a JSON number taken apart, without a loss: 0.DIGITS times ten to the power of point,
// where the digits have no zero at either end. Zero has none. Reading and comparing it takes time
// in proportion to the text, whatever the exponent.
type decimal struct {
	negative bool
	whole    string // digits before the point, as they stand
	fraction string // digits behind it
	leading  int    // how many zeros come first in both together
	count    int    // digits that count
	point    int    // how many of those lie before the point; negative: zeros behind it come first
}

// maxExponent is beyond what any number of 8 KiB can make up for by its digits.
const maxExponent = 1 << 20

// parseDecimal takes a number apart; the text is one of JSON's (RFC 8259 section 6).
func parseDecimal(text string) (d decimal) {
	text, d.negative = strings.CutPrefix(text, "-")
	mantissa, exponent := text, 0
	if at := strings.IndexAny(text, "eE"); at >= 0 {
		mantissa, exponent = text[:at], parseExponent(text[at+1:])
	}
	d.whole, d.fraction, _ = strings.Cut(mantissa, ".")
	total := len(d.whole) + len(d.fraction)
	for d.leading < total && d.at(d.leading) == '0' {
		d.leading++
	}
	for total > d.leading && d.at(total-1) == '0' {
		total--
	}
	if d.count = total - d.leading; d.count == 0 {
		return decimal{}
	}
	d.point = len(d.whole) - d.leading + exponent
	return d
}

func parseExponent(text string) (n int) {
	digits, negative := strings.CutPrefix(text, "-")
	for _, c := range strings.TrimPrefix(digits, "+") {
		n = min(10*n+int(c-'0'), maxExponent)
	}
	if negative {
		return -n
	}
	return n
}

// at returns the digit at i of all that stand there.
func (d *decimal) at(i int) byte {
	if i < len(d.whole) {
		return d.whole[i]
	}
	return d.fraction[i-len(d.whole)]
}

// digit returns the value of digit i of those that count, 0 behind the last.
func (d *decimal) digit(i int) int64 {
	if i >= d.count {
		return 0
	}
	return int64(d.at(d.leading+i) - '0')
}

func (d *decimal) equal(o *decimal) bool {
	if d.negative != o.negative || d.point != o.point || d.count != o.count {
		return false
	}
	for i := range d.count {
		if d.digit(i) != o.digit(i) {
			return false
		}
	}
	return true
}

// equalNumbers reports whether two JSON numbers are the same, however they are written.
func equalNumbers(a, b string) bool {
	x, y := parseDecimal(a), parseDecimal(b)
	return x.equal(&y)
}
