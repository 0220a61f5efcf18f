package issuer

import "github.com/prometheus/client_golang/prometheus"

// metrics count what the endpoints do. They have labels out of fixed lists only: no stranger can
// make a new series.
type metrics struct {
	logins, refused, ended, changed, messages *prometheus.CounterVec
}

func newMetrics(reg prometheus.Registerer) *metrics {
	m := &metrics{
		logins: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "sallyport_issuer_logins_total",
			Help: "Logins by outcome: success, invalid, throttled, login_rate (a right password, too " +
				"often), busy, unavailable.",
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
			Help: "Users who lost something (password, role, scope, tenant, the account) and whose " +
				"sessions had to end: ended, or failed and to be tried again.",
		}, []string{"outcome"}),
		messages: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "sallyport_issuer_messages_total",
			Help: "Messages of other issuers by channel and outcome: accepted, repeated, refused (its " +
				"sender has signed it), not_verified, key_pending, unavailable.",
		}, []string{"channel", "outcome"}),
	}
	if reg != nil {
		reg.MustRegister(m.logins, m.refused, m.ended, m.changed, m.messages)
	}
	return m
}
