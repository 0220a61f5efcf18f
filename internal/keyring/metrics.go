package keyring

import (
	"fmt"

	"github.com/prometheus/client_golang/prometheus"
)

type metrics struct {
	keys             *prometheus.GaugeVec   // use, state
	activeSince      *prometheus.GaugeVec   // use
	activations      *prometheus.CounterVec // use
	revision, broken prometheus.Gauge
	failures         prometheus.Counter
	rotationFailures prometheus.Counter
	shortLifetimes   prometheus.Gauge
}

func newMetrics(reg prometheus.Registerer) (*metrics, error) {
	m := &metrics{
		keys: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "sallyport_keyring_keys", Help: "Keys of the ring in force, by use and state.",
		}, []string{"use", "state"}),
		activeSince: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "sallyport_keyring_active_since_timestamp_seconds",
			Help: "When the active key became active, in Unix seconds.",
		}, []string{"use"}),
		activations: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "sallyport_keyring_activations_total",
			Help: "Keys that this issuer made active by automatic rotation.",
		}, []string{"use"}),
		revision: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "sallyport_keyring_revision",
			Help: "Revision of the ring in force; issuers on one folder agree on it.",
		}),
		broken: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "sallyport_keyring_broken",
			Help: "1 while the folder is broken and an older ring is in force, else 0.",
		}),
		failures: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "sallyport_keyring_reload_failures_total", Help: "Readings of the folder that failed.",
		}),
		rotationFailures: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "sallyport_keyring_rotation_failures_total", Help: "Automatic rotations that failed.",
		}),
		shortLifetimes: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "sallyport_keyring_short_lifetimes",
			Help: "1 while the folder says shorter lifetimes than this issuer has and nobody but the " +
				"operator rotates, else 0.",
		}),
	}
	if reg == nil {
		return m, nil
	}
	for _, c := range []prometheus.Collector{
		m.keys, m.activeSince, m.activations, m.revision, m.broken, m.failures, m.rotationFailures,
		m.shortLifetimes,
	} {
		if err := reg.Register(c); err != nil {
			return nil, fmt.Errorf("keyring: metrics: %w", err)
		}
	}
	return m, nil
}

func (m *metrics) short(is bool) {
	m.shortLifetimes.Set(0)
	if is {
		m.shortLifetimes.Set(1)
	}
}

func (m *metrics) show(s *snapshot) {
	m.broken.Set(0)
	m.revision.Set(float64(s.Revision))
	for _, use := range []Use{Signing, Refresh, SubjectTag} {
		for _, state := range []State{Next, Active, Retired} {
			m.keys.WithLabelValues(string(use), string(state)).Set(float64(s.count(use, state)))
		}
		m.activeSince.WithLabelValues(string(use)).Set(float64(s.in(use, Active).Activated.Unix()))
	}
}
