package check

import (
	"strconv"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/sallyport/sallyport/authz"
	"github.com/sallyport/sallyport/internal/token"
)

// metrics count decisions. Their labels come from fixed lists: nothing that a caller sends becomes
// one.
type metrics struct {
	checks     *checkMetrics
	notAwaited prometheus.Counter
	preflights prometheus.Counter
	shadows    map[string]prometheus.Counter
	notAudited map[token.Reason]prometheus.Counter
	panics     prometheus.Counter
}

func newMetrics(registry prometheus.Registerer) *metrics {
	suppressed := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "sallyport_gate_audit_suppressed_total",
		Help: "Refusals without an audit line of their own, there being too many with their reason.",
	}, []string{"reason"})
	m := &metrics{
		checks:     newCheckMetrics(),
		notAudited: map[token.Reason]prometheus.Counter{},
		notAwaited: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "sallyport_gate_keys_not_awaited_total",
			Help: "Checks with an unknown key that could not wait for it because too many others did.",
		}),
		preflights: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "sallyport_gate_preflights_total",
			Help: "Preflights of browsers (CORS) that the gate has answered.",
		}),
		panics: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "sallyport_gate_panics_total", Help: "Panics recovered from; each refused a request.",
		}),
	}
	shadows := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "sallyport_gate_shadow_decisions_total",
		Help: "Decisions of the shadow policy, by how they compare with what was decided.",
	}, []string{"outcome"})
	m.shadows = map[string]prometheus.Counter{}
	for _, outcome := range []string{shadowSame, shadowRefuses, shadowAllows, shadowDiffers} {
		m.shadows[outcome] = shadows.WithLabelValues(outcome)
	}
	// All that there can be, so that a series begins at 0, and a check looks none up by its labels.
	for _, d := range token.Reasons() {
		m.notAudited[d.Reason] = suppressed.WithLabelValues(string(d.Reason))
	}
	if registry != nil {
		registry.MustRegister(m.checks, m.notAwaited, m.preflights, shadows, suppressed, m.panics)
	}
	return m
}

// checkMetrics are what every check counts. They are counted in many tallies, of which two
// processors seldom write to the same at a time, and added up when they are read.
type checkMetrics struct {
	reasons  []token.Description
	index    map[token.Reason]int // in reasons
	tallies  [tallies]tally
	decision *prometheus.Desc
	tokens   *prometheus.Desc
	again    *prometheus.Desc
	seconds  *prometheus.Desc
}

const tallies = 32

// tally is a share of the counts.
type tally struct {
	allowed, cached, verified atomic.Uint64
	again                     atomic.Uint64
	nanoseconds               atomic.Uint64
	took                      [len(bounds) + 1]atomic.Uint64 // the last is of what took longer
	refused                   []atomic.Uint64                // as reasons
	_                         [64]byte                       // no line of a cache holds two tallies
}

// bounds are how long a check may take to count in each bucket.
var bounds = [...]time.Duration{
	2 * time.Microsecond, 5 * time.Microsecond, 10 * time.Microsecond, 20 * time.Microsecond,
	50 * time.Microsecond, 100 * time.Microsecond, 200 * time.Microsecond, 500 * time.Microsecond,
	time.Millisecond, 5 * time.Millisecond, 20 * time.Millisecond, 100 * time.Millisecond,
	250 * time.Millisecond,
}

func newCheckMetrics() *checkMetrics {
	m := &checkMetrics{
		reasons: token.Reasons(),
		index:   map[token.Reason]int{},
		decision: prometheus.NewDesc("sallyport_gate_decisions_total",
			"Decisions by HTTP status and reason.", []string{"code", "reason"}, nil),
		tokens: prometheus.NewDesc("sallyport_gate_tokens_total",
			"Genuine tokens by whether their signature had been verified before (hit) or was "+
				"verified (miss).", []string{"cache"}, nil),
		again: prometheus.NewDesc("sallyport_gate_answered_again_total",
			"Requests that were let pass by the remembered answer to one like it: inside Envoy only.", nil, nil),
		seconds: prometheus.NewDesc("sallyport_gate_check_seconds",
			"Time that a check took, without its transport.", nil, nil),
	}
	for i, d := range m.reasons {
		m.index[d.Reason] = i
	}
	for i := range m.tallies {
		m.tallies[i].refused = make([]atomic.Uint64, len(m.reasons)+8) // and a line of the cache
	}
	return m
}

// decided counts a decision and the time that it took, in the tally of that number.
func (m *checkMetrics) decided(number int, d *authz.Decision, took time.Duration) {
	t := &m.tallies[number%tallies]
	switch {
	case d.Cached:
		t.cached.Add(1)
	case d.Identity != nil && d.Identity.Claims != nil:
		t.verified.Add(1)
	}
	switch {
	case d.Allow:
		t.allowed.Add(1)
	case !d.Preflight():
		m.refused(number, d.Refused().Reason)
	}
	bucket := 0
	for bucket < len(bounds) && took > bounds[bucket] {
		bucket++
	}
	t.took[bucket].Add(1)
	t.nanoseconds.Add(uint64(max(took, 0)))
}

// given counts requests that were let pass by an answer of before. They are decisions, whose tokens
// had been verified, and no checks, which take a time.
func (m *checkMetrics) given(number int, requests, tokens uint64) {
	t := &m.tallies[number%tallies]
	t.allowed.Add(requests)
	t.cached.Add(tokens)
	t.again.Add(requests)
}

// refused counts a refusal alone, as if it had taken no time.
func (m *checkMetrics) refused(number int, reason token.Reason) {
	m.tallies[number%tallies].refused[m.index[reason]].Add(1)
}

// Describe implements prometheus.Collector.
func (m *checkMetrics) Describe(to chan<- *prometheus.Desc) {
	to <- m.decision
	to <- m.tokens
	to <- m.again
	to <- m.seconds
}

// Collect implements prometheus.Collector.
func (m *checkMetrics) Collect(to chan<- prometheus.Metric) {
	count := func(d *prometheus.Desc, of func(*tally) *atomic.Uint64, labels ...string) {
		to <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(m.sum(of)), labels...)
	}
	count(m.decision, func(t *tally) *atomic.Uint64 { return &t.allowed }, "200", "allowed")
	for i, d := range m.reasons {
		count(m.decision, func(t *tally) *atomic.Uint64 { return &t.refused[i] },
			strconv.Itoa(d.Status), string(d.Reason))
	}
	count(m.tokens, func(t *tally) *atomic.Uint64 { return &t.cached }, "hit")
	count(m.tokens, func(t *tally) *atomic.Uint64 { return &t.verified }, "miss")
	count(m.again, func(t *tally) *atomic.Uint64 { return &t.again })

	within, so := make(map[float64]uint64, len(bounds)), uint64(0)
	for i, bound := range bounds {
		so += m.sum(func(t *tally) *atomic.Uint64 { return &t.took[i] })
		within[bound.Seconds()] = so
	}
	all := so + m.sum(func(t *tally) *atomic.Uint64 { return &t.took[len(bounds)] })
	spent := m.sum(func(t *tally) *atomic.Uint64 { return &t.nanoseconds })
	to <- prometheus.MustNewConstHistogram(m.seconds, all, time.Duration(spent).Seconds(), within)
}

// sum adds one count up over all tallies.
func (m *checkMetrics) sum(of func(*tally) *atomic.Uint64) (sum uint64) {
	for i := range m.tallies {
		sum += of(&m.tallies[i]).Load()
	}
	return sum
}
