package audit_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/sallyport/sallyport/internal/audit"
	"github.com/sallyport/sallyport/internal/eventually"
)

// limited is a log with a limit of 2 lines a second and 5 at once, and what it has written.
type limited struct {
	*audit.Log
	out      *moody
	registry *prometheus.Registry
}

func newLimited(queue int) limited {
	l := limited{out: &moody{}, registry: prometheus.NewRegistry()}
	l.Log = audit.New(l.out, audit.Options{
		Registry: l.registry, Queue: queue, Limit: audit.Limit{Rate: 2, Burst: 5},
	})
	return l
}

type line struct {
	Event, Outcome, Reason, Subject string
	Suppressed                      int
}

func (l limited) lines(t *testing.T) (lines []line) {
	t.Helper()
	l.out.mu.Lock()
	defer l.out.mu.Unlock()
	for text := range strings.Lines(l.out.got.String()) {
		var got line
		if err := json.Unmarshal([]byte(text), &got); err != nil {
			t.Fatal(err)
		}
		lines = append(lines, got)
	}
	return lines
}

// count says how many lines of their own the events of a reason have, and how many the others
// were.
func count(lines []line, reason string) (own, suppressed int) {
	for _, l := range lines {
		switch {
		case l.Reason != reason:
		case l.Suppressed > 0:
			suppressed += l.Suppressed
		default:
			own++
		}
	}
	return own, suppressed
}

func failure(reason string) audit.Event {
	return audit.Event{Name: audit.Deny, Outcome: audit.Failure, Reason: reason}
}

func TestAFloodOfFailuresIsBoundedAndEachIsCounted(t *testing.T) {
	for _, queue := range []int{0, 100} {
		synctest.Test(t, func(t *testing.T) {
			l := newLimited(queue)
			for range 1000 {
				l.Record(failure("no_token"))
			}
			synctest.Wait()
			if own, left := count(l.lines(t), "no_token"); own != 5 || left != 0 {
				t.Fatalf("at once: %d lines, %d told to be left out", own, left)
			}
			time.Sleep(10 * time.Second)
			synctest.Wait()
			if own, left := count(l.lines(t), "no_token"); own != 5 || left != 995 {
				t.Fatalf("after 10 s: %d lines, %d told to be left out", own, left)
			}
			for range 1000 {
				l.Record(failure("no_token"))
			}
			if err := l.Close(); err != nil {
				t.Fatal(err)
			}
			if own, left := count(l.lines(t), "no_token"); own != 10 || own+left != 2000 {
				t.Errorf("after Close: %d lines, %d told to be left out", own, left)
			}
			want := `
				# HELP sallyport_audit_events_total Security events, by event and outcome.
				# TYPE sallyport_audit_events_total counter
				sallyport_audit_events_total{event="deny",outcome="failure"} 2000
				# HELP sallyport_audit_lost_total Security events whose line could not be written.
				# TYPE sallyport_audit_lost_total counter
				sallyport_audit_lost_total 0
				# HELP sallyport_audit_suppressed_total Security events without a line of their own, there being too many with their reason.
				# TYPE sallyport_audit_suppressed_total counter
				sallyport_audit_suppressed_total{event="deny"} 1990
			`
			if err := testutil.GatherAndCompare(l.registry, strings.NewReader(want)); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestAFloodOfOneReasonLeavesTheLinesOfOthersAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLimited(0)
		for range 1000 {
			l.Record(failure("no_token"))
		}
		l.Record(failure("revoked"))
		l.Record(audit.Event{Name: audit.Login, Reason: "no_token", Subject: "alice"})
		got := l.lines(t)
		if own, _ := count(got, "revoked"); own != 1 {
			t.Errorf("%d lines of another reason", own)
		}
		if last := got[len(got)-1]; last.Event != "login" {
			t.Errorf("no line of another event: %+v", last)
		}
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
	})
}

func TestWhatSucceedsAlwaysHasItsLine(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLimited(0)
		for range 1000 {
			l.Record(audit.Event{Name: audit.Revoke, Outcome: audit.Success, Reason: "stolen"})
		}
		if own, left := count(l.lines(t), "stolen"); own != 1000 || left != 0 {
			t.Errorf("%d lines, %d left out", own, left)
		}
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
	})
}

func TestWhatHasNoLineIsNotFilledIn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLimited(0)
		filled, kept := 0, 0
		for range 20 {
			if l.Offer(failure("no_token"), func(e *audit.Event) { filled++; e.Subject = "alice" }) {
				kept++
			}
		}
		if filled != 5 || kept != 5 {
			t.Errorf("filled %d, kept %d", filled, kept)
		}
		for _, got := range l.lines(t) {
			if got.Subject != "alice" {
				t.Errorf("got %+v", got)
			}
		}
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
	})
}

// TestMadeUpReasonsShareALimit, so that whoever makes them up fills neither memory nor disk.
func TestMadeUpReasonsShareALimit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLimited(0)
		for i := range 10_000 {
			l.Record(audit.Event{Name: audit.Name(fmt.Sprint(i % 7)), Reason: fmt.Sprint("made up ", i)})
		}
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
		lines := l.lines(t)
		if len(lines) > 128+5+1 {
			t.Errorf("%d lines", len(lines))
		}
		if _, left := count(lines, "other"); left != 10_000-128-5 {
			t.Errorf("%d told to be left out", left)
		}
	})
}

func TestARateThatIsKeptLeavesNothingOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLimited(0)
		for range 100 {
			l.Record(failure("revoked"))
			time.Sleep(500 * time.Millisecond)
		}
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
		if own, left := count(l.lines(t), "revoked"); own != 100 || left != 0 {
			t.Errorf("%d lines, %d left out", own, left)
		}
	})
}

func TestManyWhoFloodAtOnceAreAllCounted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLimited(10_000)
		var wg sync.WaitGroup
		for i := range 20 {
			wg.Go(func() {
				for range 500 {
					l.Record(failure(fmt.Sprint("reason ", i%4)))
				}
			})
		}
		wg.Wait()
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
		total := 0
		for i := range 4 {
			own, left := count(l.lines(t), fmt.Sprint("reason ", i))
			if own != 5 {
				t.Errorf("reason %d: %d lines", i, own)
			}
			total += own + left
		}
		if total != 10_000 {
			t.Errorf("%d told of", total)
		}
	})
}

func TestWithoutALimitEachFailureHasItsLine(t *testing.T) {
	var out bytes.Buffer
	l := audit.New(&out, audit.Options{Now: clock})
	for range 1000 {
		l.Record(failure("no_token"))
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(out.String(), "\n"); n != 1000 {
		t.Errorf("%d lines", n)
	}
}

// TestAPanicOverASummaryLosesThatOneAlone: it comes in a goroutine of its own, where nobody would
// recover.
func TestAPanicOverASummaryLosesThatOneAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		out, told, registry := &moody{}, &eventually.Buffer{}, prometheus.NewRegistry()
		var panics atomic.Bool
		l := audit.New(out, audit.Options{
			Registry: registry, Limit: audit.Limit{Rate: 2, Burst: 5},
			Logger: slog.New(slog.NewTextHandler(told, nil)),
			Now: func() time.Time {
				if panics.Swap(false) {
					panic("a secret")
				}
				return time.Now()
			},
		})
		for range 100 {
			l.Record(failure("a"))
			l.Record(failure("b"))
		}
		panics.Store(true)
		time.Sleep(10 * time.Second)
		synctest.Wait()
		lines := limited{Log: l, out: out}.lines(t)
		_, a := count(lines, "a")
		if _, b := count(lines, "b"); a != 0 || b != 95 {
			t.Errorf("told to be left out: %d and %d, want the second 95 alone", a, b)
		}
		if n := counter(t, registry, "sallyport_audit_lost_total"); n != 1 ||
			!strings.Contains(told.String(), "an event is lost") {
			t.Errorf("%v lines are counted as lost, told %q", n, told.String())
		}
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
	})
}
