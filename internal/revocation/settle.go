package revocation

import (
	"time"
)

// settle is what is known of the heartbeat's connection. Its heartbeats count from the moment its
// first good one is Settle old: by then whoever still wrote to a deposed primary, or could mend
// this log, has shown it.
type settle struct {
	connection uint64
	begun      bool
	epoch      Epoch
	first      time.Duration // monotonic: when the first good heartbeat was answered
	last       Instant       // when the last good one was sent
}

// good notes a good heartbeat on the log of an epoch and reports whether the connection had settled
// when it was sent.
func (s *settle) good(epoch Epoch, sent Instant, answered Instant, need time.Duration) bool {
	// If Redis stood still for longer, those who can mend this log need not have had a heartbeat
	// before Settle is over.
	if !s.begun || s.epoch != epoch || sent.Since(s.last) > need/2 {
		*s = settle{connection: s.connection, begun: true, epoch: epoch, first: answered.Mono, last: sent}
		return false
	}
	s.last = sent
	return sent.Mono-s.first >= need
}
