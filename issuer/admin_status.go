package issuer

import (
	"context"
	"net/http"
	"time"

	"github.com/sallyport/sallyport/internal/revocation/redislog"
)

// What GET /admin/status says of a process, the gravest first.
const (
	stateLeft = "left" // it was stopped, and said so as its last word: it answers nobody
	// its line has not moved for max_staleness + settle: ended, cut off, or stopped
	stateGone  = "gone"
	stateStale = "stale" // its copy was last confirmed more than max_staleness ago
	// another process writes its line, too: two of one name, or a gate for which max_gates left no
	// place
	stateShared   = "shared"
	stateUnlike   = "unlike"    // its max_staleness is not this issuer's
	stateNotReady = "not_ready" // it says that its copy is not to be relied on yet
	stateOffLog   = "off_log"   // what it has applied is not the log as it is now; it loads it again
	stateBehind   = "behind"    // there are entries that it has not applied
	stateOK       = "ok"
)

// process is a gate or an issuer as GET /admin/status shows it.
type process struct {
	Name    string  `json:"name"`
	Version string  `json:"version"`
	State   string  `json:"state"`
	Ready   bool    `json:"ready"` // as it said itself, when its line last moved
	Epoch   string  `json:"epoch"`
	Seq     uint64  `json:"seq"`
	OnLog   bool    `json:"on_log"`
	Lag     *uint64 `json:"lag"` // entries not applied; null when it is not on the log
	// Staleness is the age of the last confirmation of its copy; null when there has been none.
	Staleness *float64 `json:"staleness_seconds"`
	// of a gate's oldest key set; null: an issuer, or none yet
	KeySetAge *float64 `json:"key_set_age_seconds"`
	Age       float64  `json:"age_seconds"` // since its line was last seen to move
	Live      bool     `json:"live"`
	Shared    bool     `json:"shared"` // another process writes its line, too
	// MaxStaleness is its setting, which must be one and the same everywhere; null when it does not
	// say.
	MaxStaleness *float64 `json:"max_staleness_seconds"`
}

// logHead is how far the log has got: the furthest that any process that is on the log has applied,
// and issuers apply what they append at once.
type logHead struct {
	Epoch string `json:"epoch"`
	Seq   uint64 `json:"seq"`
}

// status answers GET /admin/status: who follows the log, and how far.
func (s *Server) status(r *request) (reply, error) {
	gates, issuers, err := s.lines(r.Context())
	if err != nil {
		return reply{}, err
	}
	answer := struct {
		Well         bool      `json:"well"` // every process is ok, or has left
		Head         *logHead  `json:"head"` // null while nobody is on the log
		MaxStaleness float64   `json:"max_staleness_seconds"`
		Gates        []process `json:"gates"`
		Issuers      []process `json:"issuers"`
	}{Well: true, Head: headOf(gates, issuers), MaxStaleness: s.cfg.Revocation.MaxStaleness.Seconds(), Gates: []process{}, Issuers: []process{}}
	for _, l := range gates {
		answer.Gates = append(answer.Gates, s.showLine(l, answer.Head))
	}
	for _, l := range issuers {
		answer.Issuers = append(answer.Issuers, s.showLine(l, answer.Head))
	}
	for _, list := range [][]process{answer.Gates, answer.Issuers} {
		for _, p := range list {
			answer.Well = answer.Well && (p.State == stateOK || p.State == stateLeft)
		}
	}
	return reply{status: http.StatusOK, body: answer}, nil
}

func (s *Server) lines(ctx context.Context) (gates, issuers []redislog.Line, err error) {
	if gates, err = s.inventory.Gates(ctx); err == nil {
		issuers, err = s.inventory.Issuers(ctx)
	}
	return gates, issuers, err
}

func headOf(lists ...[]redislog.Line) *logHead {
	var head *logHead
	for _, list := range lists {
		for _, l := range list {
			if l.OnLog && (head == nil || l.Seq > head.Seq) {
				head = &logHead{Epoch: l.Epoch, Seq: l.Seq}
			}
		}
	}
	return head
}

func (s *Server) showLine(l redislog.Line, head *logHead) process {
	p := process{
		Name:    l.Name,
		Version: l.Version,
		Ready:   l.Ready,
		Epoch:   l.Epoch,
		Seq:     l.Seq,
		OnLog:   l.OnLog,
		Age:     l.Age.Seconds(),
		Live:    l.Live,
		Shared:  l.Shared,
	}
	if l.OnLog && head != nil {
		lag := head.Seq - l.Seq
		p.Lag = &lag
	}
	// What a process says of itself was true when it wrote its line.
	if l.Ready || l.Staleness > 0 {
		p.Staleness = seconds(l.Staleness + l.Age)
	}
	if l.MaxStaleness > 0 {
		p.MaxStaleness = seconds(l.MaxStaleness)
	}
	if l.KeySetAge > 0 {
		p.KeySetAge = seconds(l.KeySetAge + l.Age)
	}
	p.State = s.stateOf(l, p.Lag)
	return p
}

func (s *Server) stateOf(l redislog.Line, lag *uint64) string {
	switch {
	case l.Left:
		return stateLeft
	case !l.Live:
		return stateGone
	case l.Staleness+l.Age > s.cfg.Revocation.MaxStaleness:
		return stateStale
	case l.Shared:
		return stateShared
	case l.MaxStaleness > 0 && l.MaxStaleness != s.cfg.Revocation.MaxStaleness:
		return stateUnlike
	case !l.Ready:
		return stateNotReady
	case lag == nil:
		return stateOffLog
	case *lag > 0:
		return stateBehind
	}
	return stateOK
}

func seconds(d time.Duration) *float64 {
	s := d.Seconds()
	return &s
}
