package issuer

import (
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// metrics have labels out of fixed lists only: no stranger can make a new series.
type metrics struct {
	requests *prometheus.CounterVec
	seconds  *prometheus.HistogramVec
	logins   *prometheus.CounterVec
	refused  *prometheus.CounterVec
	ended    *prometheus.CounterVec
	changed  *prometheus.CounterVec
	panics   prometheus.Counter

	forwarded *prometheus.CounterVec
}

func newMetrics(reg prometheus.Registerer) *metrics {
	m := &metrics{
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "sallyport_issuer_requests_total", Help: "Requests by endpoint and HTTP status.",
		}, []string{"endpoint", "status"}),
		seconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name:    "sallyport_issuer_request_seconds",
			Help:    "Time from a request's header to its answer, by endpoint.",
			Buckets: []float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10},
		}, []string{"endpoint"}),
		logins: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "sallyport_issuer_logins_total",
			Help: "Logins by outcome: success, invalid, throttled, login_rate (a right password, too often), busy, unavailable.",
		}, []string{"outcome"}),
		refused: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "sallyport_issuer_refresh_refused_total",
			Help: "Refused refresh tokens by reason; reuse means that one was stolen or sent twice.",
		}, []string{"reason"}),
		ended: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "sallyport_issuer_sessions_ended_total",
			Help: "Ends of sessions that were acknowledged, by what asked for them.",
		}, []string{"by"}),
		changed: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "sallyport_issuer_changed_users_total",
			Help: "Users who lost something (password, role, scope, tenant, the account) and whose sessions had to end: ended, or failed and to be tried again.",
		}, []string{"outcome"}),
		panics: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "sallyport_issuer_panics_total",
			Help: "Requests that panicked and were answered with 500, or with 503 where that was in what they had started: each is a bug.",
		}),
	}
	m.forwarded = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "sallyport_issuer_forwarded_for_unusable_total",
		Help: "Requests whose X-Forwarded-For does not tell the client: untrusted (http.trusted_proxies does not name the peer), missing, unreadable.",
	}, []string{"why"})
	for _, why := range flaws {
		m.forwarded.WithLabelValues(string(why))
	}
	if reg != nil {
		reg.MustRegister(m.requests, m.seconds, m.logins, m.refused, m.ended, m.changed, m.panics,
			m.forwarded)
	}
	return m
}

func (m *metrics) observe(endpoint string, status int, took time.Duration) {
	m.requests.WithLabelValues(endpoint, strconv.Itoa(status)).Inc()
	m.seconds.WithLabelValues(endpoint).Observe(took.Seconds())
}
