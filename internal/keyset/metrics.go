package keyset

import (
	"fmt"

	"github.com/prometheus/client_golang/prometheus"
)

// metrics are labelled by issuer: their number is that of the configuration's entries, whatever
// tokens say.
type metrics struct {
	keys, confirmed, skipped *prometheus.GaugeVec   // issuer
	fetches                  *prometheus.CounterVec // issuer, result
	unknown                  *prometheus.CounterVec // issuer, outcome
	removed, unkept, unfound *prometheus.CounterVec // issuer
}

func newMetrics(reg prometheus.Registerer) (*metrics, error) {
	gauge := func(name, help string) *prometheus.GaugeVec {
		return prometheus.NewGaugeVec(
			prometheus.GaugeOpts{Name: "sallyport_keyset_" + name, Help: help},
			[]string{"issuer"})
	}
	counter := func(name, help string, more ...string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(
			prometheus.CounterOpts{Name: "sallyport_keyset_" + name, Help: help},
			append([]string{"issuer"}, more...))
	}
	m := &metrics{
		keys: gauge("keys", "Keys in force."),
		confirmed: gauge("confirmed_timestamp_seconds",
			"When the issuer last said that these are its keys, in Unix seconds; 0: never."),
		skipped: gauge("skipped_keys",
			"Keys of the last set that can not be used: weak, malformed, or different under one kid."),
		fetches: counter("fetches_total", "Fetches, by result: new, unchanged, failed.", "result"),
		unknown: counter("unknown_kids_total",
			"Tokens that named a key that was not in the set, by outcome.", "outcome"),
		removed: counter("removals_total", "Times that keys left the set or changed in it."),
		unkept: counter("keep_failures_total",
			"Times that the set could not be written to key_cache_dir."),
		unfound: counter("discovery_failures_total",
			"Times that the issuer's metadata could not be read again."),
	}
	if reg == nil {
		return m, nil
	}
	for _, c := range []prometheus.Collector{
		m.keys, m.confirmed, m.skipped, m.fetches, m.unknown, m.removed, m.unkept,
		m.unfound,
	} {
		if err := reg.Register(c); err != nil {
			return nil, fmt.Errorf("keyset: metrics: %w", err)
		}
	}
	return m, nil
}

func (m *metrics) show(issuer string, s *set) {
	m.keys.WithLabelValues(issuer).Set(float64(len(s.keys)))
	confirmed := 0.0
	if !s.confirmed.IsZero() {
		confirmed = float64(s.confirmed.Unix())
	}
	m.confirmed.WithLabelValues(issuer).Set(confirmed)
}
