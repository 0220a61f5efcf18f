package check

import (
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/sallyport/sallyport/authz"
	"github.com/sallyport/sallyport/internal/token"
)

// metrics count decisions. Their labels come from fixed lists: nothing that a caller sends becomes
// one.
type metrics struct {
	allowed    prometheus.Counter
	refused    map[token.Reason]prometheus.Counter
	seconds    prometheus.Histogram
	cached     prometheus.Counter
	verified   prometheus.Counter
	notAwaited prometheus.Counter
	notAudited map[token.Reason]prometheus.Counter
	panics     prometheus.Counter
}

func newMetrics(registry prometheus.Registerer) *metrics {
	decisions := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "sallyport_gate_decisions_total", Help: "Decisions by HTTP status and reason.",
	}, []string{"code", "reason"})
	tokens := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "sallyport_gate_tokens_total",
		Help: "Genuine tokens by whether their signature had been verified before (hit) or was " +
			"verified (miss).",
	}, []string{"cache"})
	suppressed := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "sallyport_gate_audit_suppressed_total",
		Help: "Refusals without an audit line of their own, there being too many with their reason.",
	}, []string{"reason"})
	m := &metrics{
		refused:    map[token.Reason]prometheus.Counter{},
		notAudited: map[token.Reason]prometheus.Counter{},
		seconds: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "sallyport_gate_check_seconds",
			Help: "Time that a check took, without its transport.",
			Buckets: []float64{
				2e-6, 5e-6, 10e-6, 20e-6, 50e-6, 100e-6, 200e-6, 500e-6,
				1e-3, 5e-3, 20e-3, 100e-3, 250e-3,
			},
		}),
		notAwaited: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "sallyport_gate_keys_not_awaited_total",
			Help: "Checks with an unknown key that could not wait for it because too many others did.",
		}),
		panics: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "sallyport_gate_panics_total", Help: "Panics recovered from; each refused a request.",
		}),
	}
	m.allowed = decisions.WithLabelValues("200", "allowed")
	// All that there can be, so that a series begins at 0, and a check looks none up by its labels.
	for _, d := range token.Reasons() {
		m.refused[d.Reason] = decisions.WithLabelValues(strconv.Itoa(d.Status), string(d.Reason))
		m.notAudited[d.Reason] = suppressed.WithLabelValues(string(d.Reason))
	}
	m.cached, m.verified = tokens.WithLabelValues("hit"), tokens.WithLabelValues("miss")
	if registry != nil {
		registry.MustRegister(decisions, tokens, m.seconds, m.notAwaited, suppressed, m.panics)
	}
	return m
}

// decided counts a decision and the time that it took.
func (m *metrics) decided(d *authz.Decision, took time.Duration) {
	switch {
	case d.Cached:
		m.cached.Inc()
	case d.Identity != nil && d.Identity.Claims != nil:
		m.verified.Inc()
	}
	if d.Allow {
		m.allowed.Inc()
	} else {
		m.refused[d.Refused().Reason].Inc()
	}
	m.seconds.Observe(took.Seconds())
}
