package main

import (
	"bytes"
	"context"
	"encoding/json"
	"encoding/xml"
	"errors"
	"io"
	"os"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/sallyport/sallyport/bench/figure"
	"github.com/sallyport/sallyport/bench/world"
)

// small is a run that is too short to say anything, but asks everything and checks every answer.
func small(t *testing.T) *bench {
	t.Helper()
	root, err := findRoot()
	if err != nil {
		t.Fatal(err)
	}
	built, err := build(t.Context(), root, root) // the other checkout is this one
	if err != nil {
		t.Fatal(err)
	}
	return &bench{
		root: root, built: built, revocations: 2000, servers: map[string]*world.Server{},
		settings: settings{
			rounds: 1, turn: 30 * time.Millisecond, atRate: 1500 * time.Millisecond, tokens: 40,
			distinct: 400, growth: 400, tcp: true, logins: 2, logouts: 20, starts: 1,
		},
	}
}

// TestEveryPartMeasuresAndEveryAnswerIsTheExpectedOne runs every part, with every server that a
// gate is compared with, on the real Envoy and Redis. A single answer with another verdict than
// the token has earned is an error of the run.
func TestEveryPartMeasuresAndEveryAnswerIsTheExpectedOne(t *testing.T) {
	b := small(t)
	here := slices.DeleteFunc(slices.Clone(parts), func(p part) bool { return p.apart })
	if err := b.measure(t.Context(), here); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"CPU per check, gate over stock", "CPU per check, gate over base",
		"CPU of a check whose token is not cached, over a bare verify",
		"requests/s, gate over stock", "requests/s, gate over jwx and EXISTS", "requests/s, gate over OPA",
		"requests/s, jwt_authn", "requests/s, jwt_authn, cached", "requests/s, no check",
		"p99.9 over p50", "honest p99 beside garbage, over honest p99 alone",
		"CPU over no check, gate inside over the base beside", "requests/s, gate inside over no check",
		"p99 at half load, gate inside over no check",
		"memory within 400 requests, over that after 20", "size of authz", "a gate is ready after exec, beyond settle (1 s)",
		"refreshes/s on one core", "logouts/s on one core", "argon2's share of a login's CPU",
	} {
		row := find(b.rows, want)
		if row == nil || row.Rounds == 0 || row.Median == 0 { // a difference may be negative in so short a run
			t.Errorf("%q: expected a figure, got %+v", want, row)
		}
	}
}

// TestWhoLooksAtNoTokenHasNoFigures, unless it is known for it: in a process by itself and behind
// Envoy.
func TestWhoLooksAtNoTokenHasNoFigures(t *testing.T) {
	b := small(t)
	measured := 0
	see := func(measure func(*bench, context.Context) error) func(*bench, context.Context) error {
		return func(b *bench, ctx context.Context) error {
			if _, err := b.all(ctx); err != nil {
				return err
			}
			b.servers[string(world.Stock)].Blind = false
			if err := measure(b, ctx); err == nil || !strings.Contains(err.Error(), "forged token") ||
				!strings.Contains(err.Error(), "expected refused, got allowed") {
				t.Errorf("got %v", err)
			}
			measured++
			return nil
		}
	}
	if err := b.measure(t.Context(), []part{
		{name: "alone", measure: see((*bench).alone)},
		{name: "envoy", measure: see((*bench).throughEnvoy)},
	}); err != nil || measured != 2 || len(b.rows) > 0 {
		t.Errorf("%d parts, %d rows, %v", measured, len(b.rows), err)
	}
}

// TestWhatOtherTestsPrintIsReadOrAnError: a figure that is not found is no figure.
func TestWhatOtherTestsPrintIsReadOrAnError(t *testing.T) {
	b := new(bench)
	lookUps := "BenchmarkTenMillion/absent-2  100\t 281.5 ns/op\nBenchmarkTenMillion/present-2  90 431 ns/op\n"
	streams := "inside_test.go:9: the last of 10000 streams had ended 68.5ms after the acknowledgement\n"
	if err := errors.Join(b.lookUpRows(lookUps), b.streamRows(streams)); err != nil {
		t.Fatal(err)
	}
	for i, want := range []float64{281.5, 431, 68.5} {
		if got := b.rows[i].Median; got != want {
			t.Errorf("%s: expected %v, got %v", b.rows[i].Name, want, got)
		}
	}
	for _, nothing := range []string{"", "ok\n", lookUps + lookUps + streams + streams} {
		if b.lookUpRows(nothing) == nil || b.streamRows(nothing) == nil {
			t.Errorf("%q: expected an error", nothing)
		}
	}
}

func find(rows []figure.Row, name string) *figure.Row {
	for i := range rows {
		if rows[i].Name == name {
			return &rows[i]
		}
	}
	return nil
}

// TestARunEndsWithTheFirstProcessThatDoes: what is left would measure something else.
func TestARunEndsWithTheFirstProcessThatDoes(t *testing.T) {
	b := small(t)
	var pids []int
	err := b.measure(t.Context(), []part{{name: "alone", measure: func(b *bench, ctx context.Context) error {
		names, err := b.all(ctx)
		if err != nil {
			return err
		}
		for _, name := range names {
			pids = append(pids, b.servers[name].PID())
		}
		if err := b.servers[gate].Signal(syscall.SIGKILL); err != nil {
			return err
		}
		<-ctx.Done()
		return nil
	}}})
	if err == nil || !strings.Contains(err.Error(), "gate ended (signal: killed)") {
		t.Errorf("expected an error that names the gate, got %v", err)
	}
	gone(t, pids)
}

func TestARunEndsWhenItIsToldTo(t *testing.T) {
	b := small(t)
	ctx, cancel := context.WithCancelCause(t.Context())
	told := errors.New("told to stop")
	var pids []int
	err := b.measure(ctx, []part{{name: "alone", measure: func(b *bench, ctx context.Context) error {
		names, err := b.all(ctx)
		if err != nil {
			return err
		}
		for _, name := range names {
			pids = append(pids, b.servers[name].PID())
		}
		b.settings.turn = time.Hour
		time.AfterFunc(200*time.Millisecond, func() { cancel(told) })
		return b.alone(ctx)
	}}})
	if !errors.Is(err, told) {
		t.Errorf("expected %v, got %v", told, err)
	}
	gone(t, pids)
}

func gone(t *testing.T, pids []int) {
	t.Helper()
	if len(pids) < 5 {
		t.Fatalf("expected five servers at least, got %d", len(pids))
	}
	for _, pid := range pids {
		if err := syscall.Kill(pid, 0); !errors.Is(err, syscall.ESRCH) {
			t.Errorf("process %d is still there: %v", pid, err)
		}
	}
}

func TestAReportReplacesItsPartOfThePageAndNothingElse(t *testing.T) {
	page := "# Results\n\n" + begins + "\nold\n" + ends + "\n\n## By hand\n"
	got, err := replaced([]byte(page), "new\n")
	if want := "# Results\n\n" + begins + "\nnew\n" + ends + "\n\n## By hand\n"; err != nil ||
		string(got) != want {
		t.Errorf("expected %q, got %q, %v", want, got, err)
	}
	again, err := replaced(got, "new\n")
	if err != nil || !bytes.Equal(again, got) {
		t.Errorf("expected the same again, got %q, %v", again, err)
	}
	for _, broken := range []string{"", begins + "\n", ends} {
		if _, err := replaced([]byte(broken), "new"); err == nil {
			t.Errorf("%q: expected an error", broken)
		}
	}
}

func TestTheResultsHaveAPlaceForTheReport(t *testing.T) {
	page, err := os.ReadFile("RESULTS.md")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := replaced(page, ""); err != nil {
		t.Error(err)
	}
}

func TestAReportHasEveryRowAndPlot(t *testing.T) {
	p := plot{Name: "cpu", Title: `<&"`, Group: "Part", Unit: "µs"}
	p.add("one", figure.Samples{1, 2, 3})
	p.add("two", figure.Samples{1}, figure.Samples{4})
	r := report{
		Machine: "a machine", Command: "go run .", Plots: []plot{p},
		Rows: []figure.Row{
			figure.NewRow("Part", "met", "", figure.Samples{0.3, 0.34, 0.36}, figure.AtMost(0.35)),
			figure.NewRow("Part", "missed", "", figure.Samples{7}, figure.AtLeast(8)),
			figure.NewRow("Part", "without", "µs", figure.Samples{1234.4}, figure.Target{}),
		},
	}
	text := r.markdown()
	for _, want := range []string{
		"| met | 0.34 | 0.30 to 0.36 | <= 0.35 | ok |\n", "| missed | 7.00 |  | >= 8.00 | short |\n",
		"| without | 1234 µs |  |\n", "](cpu.svg)\n",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("expected %q in\n%s", want, text)
		}
	}
	for d := xml.NewDecoder(bytes.NewReader(p.svg())); ; {
		if _, err := d.Token(); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatalf("expected XML: %v\n%s", err, p.svg())
		}
	}
	var out bytes.Buffer
	if err := r.printJSON(&out); err != nil {
		t.Fatal(err)
	}
	var read report
	if err := json.Unmarshal(out.Bytes(), &read); err != nil || len(read.Rows) != len(r.Rows) ||
		read.Rows[1] != r.Rows[1] {
		t.Errorf("expected the rows again, got %+v, %v", read.Rows, err)
	}
}

func TestOnlyPartsThatThereAreCanBeChosen(t *testing.T) {
	for only, want := range map[string]int{"": len(parts), "growth": 1, "alone,sizes": 2} {
		got, err := choose(options{only: only})
		if err != nil || len(got) != want {
			t.Errorf("%q: expected %d parts, got %d, %v", only, want, len(got), err)
		}
	}
	if _, err := choose(options{only: "alone,nothing"}); err == nil {
		t.Error("expected an error")
	}
	quick, err := choose(options{quick: true})
	if err != nil || len(quick) >= len(parts) {
		t.Errorf("expected fewer parts in a quick run, got %d, %v", len(quick), err)
	}
}
