package extauthz

import (
	"log/slog"
	"net"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/time/rate"
)

// crowd counts connections for which there was no place, and now and then logs why: whoever connects
// could fill the log.
type crowd struct {
	refused *prometheus.CounterVec
	most    int
	logger  *slog.Logger
	lines   *rate.Limiter
}

// Why a connection is refused, as metrics call it.
const (
	refusedConnections = "connections"
	refusedStrangers   = "strangers"
)

func newCrowd(most int, logger *slog.Logger, registry prometheus.Registerer) *crowd {
	c := &crowd{
		refused: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "sallyport_gate_connections_refused_total",
			Help: "Connections to ext_authz for which there was no place: beyond max_connections, or of " +
				"strangers, too many of whom had not begun to speak HTTP/2.",
		}, []string{"reason"}),
		most: most, logger: logger, lines: rate.NewLimiter(rate.Every(time.Minute), 1),
	}
	for _, reason := range []string{refusedConnections, refusedStrangers} {
		c.refused.WithLabelValues(reason) // so that a series begins at 0
	}
	if registry != nil {
		registry.MustRegister(c.refused)
	}
	return c
}

func (c *crowd) noPlace(from net.Addr, stranger bool) {
	reason := refusedConnections
	if stranger {
		reason = refusedStrangers
	}
	c.refused.WithLabelValues(reason).Inc()
	switch {
	case !c.lines.Allow():
	case stranger:
		c.logger.Warn("ext_authz: too many connections that do not say who they are: the oldest one of "+
			"the address that has most of them is cut off", "from", from.String())
	default:
		c.logger.Warn("ext_authz: there are more connections than ext_authz.max_connections has places "+
			"for: one is refused", "from", from.String(), "max_connections", c.most)
	}
}
