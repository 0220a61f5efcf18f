package main

import (
	"fmt"
	"io"
	"os"
	"sync"
	"time"

	"golang.org/x/term"
)

// screen prints for people: coloured on a terminal that can, plain everywhere else.
type screen struct {
	out      io.Writer
	terminal bool
	colour   bool

	mu    sync.Mutex
	doing string      // what is under way
	shown bool        // the terminal's last line says so, to be overwritten
	slow  *time.Timer // says so where nothing can be overwritten, once it takes long
}

// slowAfter is how long something may take without a word.
const slowAfter = 1500 * time.Millisecond

func newScreen(out io.Writer) *screen {
	s := &screen{out: out}
	if f, ok := out.(*os.File); ok && term.IsTerminal(int(f.Fd())) {
		s.terminal = os.Getenv("TERM") != "dumb"
	}
	s.colour = s.terminal && os.Getenv("NO_COLOR") == ""
	return s
}

// print writes a whole line, or several.
func (s *screen) print(format string, args ...any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.quiet()
	fmt.Fprintf(s.out, format+"\n", args...)
}

// progress shows what is under way: at once on a terminal, in a line that the next one overwrites;
// elsewhere only when it takes long.
func (s *screen) progress(doing string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.quiet()
	s.doing = doing
	if s.terminal {
		fmt.Fprintf(s.out, "\r\x1b[K%s", s.dim(doing+" ..."))
		s.shown = true
		return
	}
	// Where nothing can be overwritten, only what takes long gets a line.
	s.slow = time.AfterFunc(slowAfter, func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.doing == doing { // the timer may have fired just before it was stopped
			fmt.Fprintln(s.out, doing, "...")
		}
	})
}

// done ends what is under way.
func (s *screen) done() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.quiet()
}

// quiet removes what progress has shown. The lock is held.
func (s *screen) quiet() {
	if s.shown {
		fmt.Fprint(s.out, "\r\x1b[K")
		s.shown = false
	}
	if s.slow != nil {
		s.slow.Stop()
	}
	s.doing = ""
}

func (s *screen) style(code, text string) string {
	if !s.colour {
		return text
	}
	return "\x1b[" + code + "m" + text + "\x1b[0m"
}

func (s *screen) bold(text string) string  { return s.style("1", text) }
func (s *screen) dim(text string) string   { return s.style("2", text) }
func (s *screen) green(text string) string { return s.style("32", text) }
func (s *screen) red(text string) string   { return s.style("31;1", text) }
