package stream

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Metrics are those of all streams. The label sender is out of the configuration.
type Metrics struct {
	up, verified *prometheus.GaugeVec
	failures     *prometheus.CounterVec
}

// NewMetrics registers them; nil for registry: they go nowhere.
func NewMetrics(registry prometheus.Registerer) *Metrics {
	m := &Metrics{
		up: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "sallyport_issuer_stream_up",
			Help: "1 when this issuer keeps the sender's stream and found it whole; 0 when it keeps " +
				"it and it is not, or another issuer keeps it. Absent: it is made by hand.",
		}, []string{"sender"}),
		verified: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "sallyport_issuer_stream_verified_timestamp_seconds",
			Help: "When the sender's stream last showed that it works, to any issuer; 0: never, though " +
				"this issuer has asked. Absent: nobody has asked.",
		}, []string{"sender"}),
		failures: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "sallyport_issuer_stream_failures_total",
			Help: "Failures to keep or poll the sender's stream, by what was tried.",
		}, []string{"sender", "step"}),
	}
	if registry != nil {
		registry.MustRegister(m.up, m.verified, m.failures)
	}
	return m
}

// begin has the series there that alerts compare with what they were before.
func (m *Metrics) begin(sender string, managed bool) {
	if managed {
		m.up.WithLabelValues(sender)
	}
	for _, step := range []string{stepLease, stepKeep, stepPoll, stepCarryOut} {
		m.failures.WithLabelValues(sender, step)
	}
}

// asked begins to show when the stream was verified: one that cannot be asked never is, and no
// alert is to tell of it.
func (m *Metrics) asked(sender string) { m.verified.WithLabelValues(sender) }

func (m *Metrics) lastVerified(sender string, at time.Time) {
	if at.IsZero() {
		return
	}
	m.verified.WithLabelValues(sender).Set(float64(at.UnixMilli()) / 1000)
}

// The values of the label step.
const (
	stepLease    = "lease"
	stepKeep     = "keep"
	stepPoll     = "poll"
	stepCarryOut = "carry_out"
)
