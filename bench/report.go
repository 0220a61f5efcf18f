package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strings"

	"github.com/sallyport/sallyport/bench/figure"
)

// report is what a run has shown.
type report struct {
	Machine string       `json:"machine"`
	Command string       `json:"command"`
	Taken   string       `json:"taken"`
	Quick   bool         `json:"quick,omitempty"`
	Rows    []figure.Row `json:"rows"`
	Plots   []plot       `json:"-"`
}

// print writes the ratios with targets one a line, then everything else by group.
func (r report) print(w io.Writer) {
	fmt.Fprintf(w, "%s; %s; %s\n\n", r.Machine, r.Command, r.Taken)
	fmt.Fprintf(w, "%-6s%8s %-4s %-18s %-9s\n", "", "median", "", "least to greatest", "target")
	for _, row := range r.Rows {
		if row.Verdict != "" {
			fmt.Fprintln(w, row)
		}
	}
	group := ""
	for _, row := range r.Rows {
		if row.Verdict != "" {
			continue
		}
		if row.Group != group {
			group = row.Group
			fmt.Fprintf(w, "\n%s\n", group)
		}
		fmt.Fprintln(w, row)
	}
}

func (r report) printJSON(w io.Writer) error {
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	e.SetEscapeHTML(false)
	if err := e.Encode(r); err != nil {
		return fmt.Errorf("bench: %w", err)
	}
	return nil
}

// The part of RESULTS.md between these lines is written by this program.
const (
	begins = "<!-- make bench-report: from here -->"
	ends   = "<!-- make bench-report: to here -->"
)

// write puts the report into RESULTS.md, and the plots beside it.
func (r report) write(dir string) error {
	path := filepath.Join(dir, "RESULTS.md")
	old, err := os.ReadFile(path)
	if err != nil {
		return fmt.Errorf("bench: %w", err)
	}
	next, err := replaced(old, r.markdown())
	if err != nil {
		return fmt.Errorf("bench: %s: %w", path, err)
	}
	if err := os.WriteFile(path, next, 0o644); err != nil {
		return fmt.Errorf("bench: %w", err)
	}
	for _, p := range r.Plots {
		if err := os.WriteFile(filepath.Join(dir, p.Name+".svg"), p.svg(), 0o644); err != nil {
			return fmt.Errorf("bench: %w", err)
		}
	}
	return nil
}

// replaced puts text between the two lines of a page, and leaves the rest as it is.
func replaced(page []byte, text string) ([]byte, error) {
	before, rest, ok := bytes.Cut(page, []byte(begins+"\n"))
	_, after, closed := bytes.Cut(rest, []byte(ends))
	if !ok || !closed {
		return nil, errors.New("expected the lines that the generated part stands between")
	}
	return fmt.Appendf(nil, "%s%s\n%s%s%s", before, begins, text, ends, after), nil
}

func (r report) markdown() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s. `cd bench && %s` took %s. Each figure is the median of its rounds; behind it, "+
		"the least and the\ngreatest of them.\n", r.Machine, r.Command, r.Taken)
	group, table := "", false
	heading := func(columns, line string) {
		if !table {
			fmt.Fprintf(&b, "\n%s\n%s\n", columns, line)
			table = true
		}
	}
	b.WriteString("\n### Targets\n")
	for _, row := range r.Rows {
		if row.Verdict != "" {
			heading("| | | least to greatest | target | |", "|---|---|---|---|---|")
			fmt.Fprintf(&b, "| %s | %s | %s | %s | %s |\n", row.Name, withUnit(row), spread(row),
				row.Target, row.Verdict)
		}
	}
	for _, row := range r.Rows {
		if row.Verdict != "" {
			continue
		}
		if row.Group != group {
			group, table = row.Group, false
			fmt.Fprintf(&b, "\n### %s\n", group)
			for _, p := range r.Plots {
				if p.Group == group {
					fmt.Fprintf(&b, "\n![%s](%s.svg)\n", p.Title, p.Name)
				}
			}
		}
		heading("| | | least to greatest |", "|---|---|---|")
		fmt.Fprintf(&b, "| %s | %s | %s |\n", row.Name, withUnit(row), spread(row))
	}
	return b.String() + "\n"
}

func withUnit(r figure.Row) string {
	return strings.TrimSpace(figure.Format(r.Median) + " " + r.Unit)
}

func spread(r figure.Row) string {
	if r.Rounds < 2 {
		return ""
	}
	return figure.Format(r.Least) + " to " + figure.Format(r.Greatest)
}

// machine names what was measured on, and says whether it had other work.
func machine() string {
	model := runtime.GOARCH
	if text, err := os.ReadFile("/proc/cpuinfo"); err == nil {
		for lines := bufio.NewScanner(bytes.NewReader(text)); lines.Scan(); {
			if name, value, ok := strings.Cut(lines.Text(), ":"); ok &&
				strings.TrimSpace(name) == "model name" {
				model = strings.TrimSpace(value)
				break
			}
		}
	}
	busy := "unknown"
	if text, err := os.ReadFile("/proc/loadavg"); err == nil {
		busy, _, _ = strings.Cut(string(text), " ")
	}
	return fmt.Sprintf("%s, %s, %d cores, load average %s before the run", runtime.Version(), model,
		runtime.NumCPU(), busy)
}
