package issuer

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/sallyport/sallyport/internal/ssf"
)

// metrics count what the endpoints do. They have labels out of fixed lists only: no stranger can
// make a new series.
type metrics struct {
	logins, refused, ended, changed, messages, signals *prometheus.CounterVec
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
		signals: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "sallyport_issuer_security_events_total",
			Help: "Security events that were acknowledged, by type and outcome: revokes, ignored (it " +
				"ends nothing here), unmapped (it would, but whom cannot be told from its subject), " +
				"stream (it is about the stream itself).",
		}, []string{"type", "outcome"}),
	}
	if reg != nil {
		reg.MustRegister(m.logins, m.refused, m.ended, m.changed, m.messages, m.signals)
	}
	return m
}

// beginMessages has the series there that alerts compare with what they were before: the first
// message that is refused is one more than none.
func (m *metrics) beginMessages() {
	for _, channel := range []string{"backchannel", "push", "poll"} {
		for _, outcome := range []string{"refused", "not_verified", "key_pending"} {
			m.messages.WithLabelValues(channel, outcome)
		}
	}
	for _, t := range ssf.Ending() {
		m.signals.WithLabelValues(t.String(), string(ssf.Unmapped))
	}
}
