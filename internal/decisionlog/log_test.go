package decisionlog

import (
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/sallyport/sallyport/internal/config"
	"github.com/sallyport/sallyport/internal/eventually"
)

// gated is a writer that can be made to wait or to fail.
type gated struct {
	mu    sync.Mutex
	got   bytes.Buffer
	held  chan struct{} // nil: writes do not wait
	fail  error
	short int // of a write that fails, so much is written
}

func (g *gated) Write(p []byte) (int, error) {
	g.mu.Lock()
	held := g.held
	g.mu.Unlock()
	if held != nil {
		<-held
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.fail != nil {
		n, _ := g.got.Write(p[:min(g.short, len(p))])
		return n, g.fail
	}
	return g.got.Write(p)
}

func (g *gated) failing(err error, short int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.fail, g.short = err, short
}

func (g *gated) text() string {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.got.String()
}

// stepwise is a writer whose first writes each go as a step says.
type stepwise struct {
	eventually.Buffer
	steps []func() error
}

func (w *stepwise) Write(line []byte) (int, error) {
	if len(w.steps) > 0 {
		step := w.steps[0]
		w.steps = w.steps[1:]
		return 0, step()
	}
	return w.Buffer.Write(line)
}

func noon() time.Time { return time.Date(2030, 1, 2, 12, 0, 0, 0, time.UTC) }

// newLog is a log on w with limits that nothing here meets, but for change.
func newLog(t *testing.T, w io.Writer, change func(*Config)) (*Log, *prometheus.Registry) {
	t.Helper()
	c := DefaultConfig()
	c.Enabled, c.Burst = true, 100_000
	if change != nil {
		change(&c)
	}
	r := prometheus.NewRegistry()
	l, err := New(c, Options{Now: noon, Registry: r, Stdout: w})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	})
	return l, r
}

func refused(reason, id string) *Record {
	return &Record{ID: id, Verdict: Refused, Status: 403, Reason: reason, Token: "none"}
}

func records(t *testing.T, text string) (all []*Record) {
	t.Helper()
	r := NewReader(strings.NewReader(text))
	for {
		record, err := r.Next()
		if err == io.EOF {
			return all
		}
		if err != nil {
			t.Fatalf("%v in\n%s", err, text)
		}
		all = append(all, record)
	}
}

func wantDropped(t *testing.T, r *prometheus.Registry, why string, want float64) {
	t.Helper()
	families, err := r.Gather()
	if err != nil {
		t.Fatal(err)
	}
	got := -1.0
	for _, f := range families {
		for _, m := range f.GetMetric() {
			if f.GetName() == "sallyport_gate_decision_log_dropped_total" &&
				m.GetLabel()[0].GetValue() == why {
				got = m.GetCounter().GetValue()
			}
		}
	}
	if got != want {
		t.Errorf("%v dropped for %s, want %v", got, why, want)
	}
}

// TestAFloodOfOneReasonIsCutAndCounted: the lines of others are left alone, and the next line says how
// many have none.
func TestAFloodOfOneReasonIsCutAndCounted(t *testing.T) {
	w := &gated{}
	l, r := newLog(t, w, func(c *Config) { c.Rate, c.Burst = 0.1, 5 })
	for range 1000 {
		if l.Admits("no_token") {
			l.Put(refused("no_token", "flood"))
		}
	}
	if !l.Admits("revoked") || !l.Admits(Allowed) {
		t.Fatal("a flood of one reason takes the lines of others")
	}
	l.Put(refused("revoked", "one"))
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	all := records(t, w.text())
	if len(all) != 6 || all[5].ID != "one" {
		t.Fatalf("%d lines", len(all))
	}
	told := uint64(0)
	for _, record := range all {
		told += record.Dropped
	}
	if told != 995 {
		t.Errorf("lines tell of %d dropped", told)
	}
	wantDropped(t, r, byRate, 995)
	if l.Admits("of no list") {
		t.Error("a reason that is made up has a line")
	}
}

// TestAFullQueueDropsAndNobodyWaits: while nothing can be written, whoever decides goes on, and memory
// does not grow.
func TestAFullQueueDropsAndNobodyWaits(t *testing.T) {
	w := &gated{held: make(chan struct{})}
	l, r := newLog(t, w, nil)
	l.Put(refused("no_token", "first"))
	eventually.True(t, "the first line to be on its way", func() bool { return l.queue.Len() == 0 })
	for range 3 * queued {
		l.Put(refused("no_token", "more"))
	}
	wantDropped(t, r, byQueue, 2*queued)
	close(w.held)
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if n := len(records(t, w.text())); n != queued+1 {
		t.Errorf("%d lines", n)
	}
	l.Put(refused("no_token", "late"))
	wantDropped(t, r, byQueue, 2*queued+1)
}

// TestWhatCannotBeWrittenIsCounted, and a line that was written in part spoils none behind it.
func TestWhatCannotBeWrittenIsCounted(t *testing.T) {
	w := &gated{}
	l, r := newLog(t, w, nil)
	w.failing(errors.New("no space left"), 10)
	l.Put(refused("revoked", "lost"))
	eventually.True(t, "the failure to be counted", func() bool { return l.missing.Load() == 1 })
	w.failing(nil, 0)
	l.Put(refused("revoked", "kept"))
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	wantDropped(t, r, byWrite, 1)
	torn, whole, ok := strings.Cut(w.text(), "\n")
	if !ok || len(torn) != 10 {
		t.Fatalf("got %q", w.text())
	}
	if all := records(t, whole); len(all) != 1 || all[0].ID != "kept" || all[0].Dropped != 1 {
		t.Errorf("got %+v", all)
	}
	want := `
		# HELP sallyport_gate_decision_log_lines_total Lines of the decision log that were written, by verdict.
		# TYPE sallyport_gate_decision_log_lines_total counter
		sallyport_gate_decision_log_lines_total{verdict="allowed"} 0
		sallyport_gate_decision_log_lines_total{verdict="refused"} 1
	`
	if err := testutil.GatherAndCompare(r, strings.NewReader(want),
		"sallyport_gate_decision_log_lines_total"); err != nil {
		t.Error(err)
	}
}

func TestASampleOfWhatIsAllowed(t *testing.T) {
	for share, want := range map[float64][]bool{
		0:   {false, false, false},
		0.5: {true, false, false},
		1:   {true, true, true},
	} {
		l, _ := newLog(t, io.Discard, func(c *Config) { c.SampleAllowed = share })
		for i, random := range []uint64{0, 1 << 63, ^uint64(0)} {
			if got := l.Samples(random); got != want[i] {
				t.Errorf("a share of %v: %x has a line: %v", share, random, got)
			}
		}
	}
}

// TestARenamedFileIsFollowed: rotation needs no signal.
func TestARenamedFileIsFollowed(t *testing.T) {
	file := filepath.Join(t.TempDir(), "decisions.jsonl")
	l, _ := newLog(t, nil, func(c *Config) { c.File = config.Path(file) })
	put := func(id string) {
		l.Put(refused("revoked", id))
	}
	content := func(path string) string {
		text, err := os.ReadFile(path)
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			t.Fatal(err)
		}
		return string(text)
	}
	put("before")
	eventually.True(t, "the first line", func() bool { return strings.Contains(content(file), "before") })
	if err := os.Rename(file, file+".1"); err != nil {
		t.Fatal(err)
	}
	eventually.True(t, "a line in the new file", func() bool {
		put("after")
		return strings.Contains(content(file), "after")
	})
	if info, err := os.Stat(file); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the file is readable for others: %v, %v", info, err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if all := records(t, content(file+".1")); all[0].ID != "before" {
		t.Errorf("the old file begins with %+v", all[0])
	}
	// A crash may have left a part of a line.
	if err := os.WriteFile(file, []byte(`{"event":"dec`), 0o600); err != nil {
		t.Fatal(err)
	}
	again, _ := newLog(t, nil, func(c *Config) { c.File = config.Path(file) })
	again.Put(refused("revoked", "next life"))
	if err := again.Close(); err != nil {
		t.Fatal(err)
	}
	_, whole, _ := strings.Cut(content(file), "\n")
	if all := records(t, whole); len(all) != 1 || all[0].ID != "next life" {
		t.Errorf("got %q", content(file))
	}
}

// TestAFileThatIsNoneIsRefused: a pipe without a reader would be waited for.
func TestAFileThatIsNoneIsRefused(t *testing.T) {
	dir := t.TempDir()
	pipe := filepath.Join(dir, "pipe")
	if err := syscall.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{pipe, dir, filepath.Join(dir, "no", "folder", "x")} {
		c := DefaultConfig()
		c.Enabled, c.File = true, config.Path(path)
		if l, err := New(c, Options{Now: noon}); err == nil {
			t.Errorf("%s: opened %v", path, l)
		}
	}
	c := DefaultConfig()
	c.Enabled, c.File = true, config.Path(pipe)
	if err := c.Check(); err == nil || !strings.Contains(err.Error(), "decision_log.file") {
		t.Errorf("check says %v", err)
	}
	c.File = config.Path(filepath.Join(dir, "new"))
	if err := c.Check(); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(string(c.File)); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a check has made the file: %v", err)
	}
}

func TestSettingsOutOfRangeAreRefused(t *testing.T) {
	for want, change := range map[string]func(*Config){
		"sample_allowed: expected a share from 0 to 1": func(c *Config) { c.SampleAllowed = 1.5 },
		"rate: expected 0.1 to 100000":                 func(c *Config) { c.Rate = 0 },
		"burst: expected 1 to 1000000":                 func(c *Config) { c.Burst = 0 },
		"claims: expected at most 32":                  func(c *Config) { c.Claims = make([]string, 33) },
		"claims[0]: expected a path":                   func(c *Config) { c.Claims = []string{"/a//b"} },
		"claims[1]: sub is there twice":                func(c *Config) { c.Claims = []string{"sub", "sub"} },
		"headers[0]: authorization carries secrets":    func(c *Config) { c.Headers = []string{"authorization"} },
		"headers[0]: cookie carries secrets":           func(c *Config) { c.Headers = []string{"cookie"} },
		"headers[0]: expected a header's name":         func(c *Config) { c.Headers = []string{"X-Team"} },
	} {
		c := DefaultConfig()
		c.Enabled = true
		if err := c.Validate(); err != nil {
			t.Fatal(err)
		}
		change(&c)
		if err := c.Validate(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %s", err, want)
		}
	}
}

// TestWhatAPanicLosesTheNextLineTells, with what was lost before it.
func TestWhatAPanicLosesTheNextLineTells(t *testing.T) {
	w := &stepwise{steps: []func() error{
		func() error { return errors.New("no space left") },
		func() error { panic("thrown") },
	}}
	l, _ := newLog(t, w, nil)
	for _, id := range []string{"one", "two", "three", "four"} {
		l.Put(refused("expired", id))
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	got := records(t, w.String())
	if len(got) != 2 || got[0].ID != "three" || got[0].Dropped != 2 || got[1].Dropped != 0 {
		t.Errorf("got %s", w.String())
	}
}
