package credential

import (
	"errors"
	"fmt"

	"github.com/prometheus/client_golang/prometheus"
)

// metrics of the room. Their labels are words of ours only, never a name or an address.
type metrics struct {
	logins   *prometheus.CounterVec
	hashes   prometheus.Counter
	loads    *prometheus.CounterVec
	broken   prometheus.Gauge
	users    prometheus.Gauge
	outdated prometheus.Gauge
	weak     prometheus.Counter
	upgrades *prometheus.CounterVec
}

// outcomes of Verify.
var outcomes = []string{
	"ok", "invalid", "too_long", "busy", "abandoned", "unavailable", "throttled_address_attempts",
	"throttled_address", "throttled_pair", "throttled_name", "throttled_name_logins",
}

func newMetrics() *metrics {
	m := &metrics{
		logins: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "sallyport_password_checks_total", Help: "Passwords that were to be checked, by outcome.",
		}, []string{"outcome"}),
		hashes: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "sallyport_password_hashes_total",
			Help: "Password hashes computed: one for each check that was not refused before.",
		}),
		loads: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "sallyport_users_loads_total", Help: "Times the users were read, by result (ok, failed).",
		}, []string{"result"}),
		broken: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "sallyport_users_broken",
			Help: "1 while the users file cannot be loaded and earlier users are in force.",
		}),
		users: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "sallyport_users", Help: "Users in force.",
		}),
		outdated: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "sallyport_users_outdated_hashes",
			Help: "Users whose password hash is of another kind or weaker than new ones.",
		}),
	}
	m.weak = prometheus.NewCounter(prometheus.CounterOpts{
		Name: "sallyport_password_outdated_logins_total",
		Help: "Logins by a right password whose hash is of another kind or weaker than new ones.",
	})
	m.upgrades = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "sallyport_users_upgraded_hashes_total",
		Help: "Password hashes that were to be replaced by new ones at a login, by result (ok, failed).",
	}, []string{"result"})
	m.upgrades.WithLabelValues("ok")
	m.upgrades.WithLabelValues("failed")
	for _, o := range outcomes {
		m.logins.WithLabelValues(o)
	}
	m.loads.WithLabelValues("ok")
	m.loads.WithLabelValues("failed")
	return m
}

func (m *metrics) register(r prometheus.Registerer, p *pool) error {
	if r == nil {
		return nil
	}
	running := prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "sallyport_password_hashes_running", Help: "Password hashes being computed.",
	}, func() float64 { n, _ := p.load(); return float64(n) })
	waiting := prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "sallyport_password_hashes_waiting",
		Help: "Logins waiting for their password to be checked.",
	}, func() float64 { _, n := p.load(); return float64(n) })
	var errs []error
	for _, c := range []prometheus.Collector{
		m.logins, m.hashes, m.loads, m.broken, m.users, m.outdated, m.weak, m.upgrades, running,
		waiting,
	} {
		errs = append(errs, r.Register(c))
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("credential: metrics: %w", err)
	}
	return nil
}
