package authztest

import (
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/sallyport/sallyport/authz"
	"github.com/sallyport/sallyport/internal/audit"
)

// Lines keeps audit events, as a recorder that has a line for each.
type Lines struct {
	mu     sync.Mutex
	events []audit.Event
}

// Offer implements check.Recorder.
func (l *Lines) Offer(e audit.Event, fill func(*audit.Event)) bool {
	fill(&e)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.events = append(l.events, e)
	return true
}

// All returns the events until now, in their order.
func (l *Lines) All() []audit.Event {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.events)
}

// Value sums the metric of that name whose labels, as name=value with blanks between them, contain
// the text; of a histogram it counts what was observed.
func Value(t testing.TB, r *prometheus.Registry, name, labels string) (sum float64) {
	t.Helper()
	families, err := r.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() != name {
			continue
		}
		for _, m := range f.GetMetric() {
			var text []string
			for _, l := range m.GetLabel() {
				text = append(text, l.GetName()+"="+l.GetValue())
			}
			if strings.Contains(strings.Join(text, " "), labels) {
				sum += m.GetCounter().GetValue() + float64(m.GetHistogram().GetSampleCount())
			}
		}
	}
	return sum
}

// ids are the IDs of all decisions of a test's process.
var ids sync.Map

// statusPreflight is that of a preflight's answer, and of no other.
const statusPreflight = 204

// WithoutID checks that the headers of an answer to a client have the ID of one decision, that no
// other answer had, and returns the others. A preflight's answer has none.
func WithoutID(t testing.TB, status int, headers []authz.Header) []authz.Header {
	t.Helper()
	var found []string
	others := slices.DeleteFunc(slices.Clone(headers), func(h authz.Header) bool {
		if h.Name == authz.HeaderDecision {
			found = append(found, h.Value)
			return true
		}
		return false
	})
	if status == statusPreflight {
		if len(found) > 0 {
			t.Errorf("a preflight's answer has the ID of a decision: %q", found)
		}
		return others
	}
	if len(found) != 1 || len(found[0]) != 32 || strings.Trim(found[0], "0123456789abcdef") != "" {
		t.Errorf("expected the ID of one decision, got %q", found)
	} else if _, twice := ids.LoadOrStore(found[0], true); twice {
		t.Errorf("two decisions have the ID %s", found[0])
	}
	return others
}

// Heap returns how many bytes are in use, without what is garbage.
func Heap() int64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.GC() // what pools have held on to since
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}
