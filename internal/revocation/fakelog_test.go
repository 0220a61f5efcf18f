package revocation_test

import (
	"fmt"
	"time"

	"github.com/sallyport/sallyport/internal/revocation"
)

// fakeLog is Redis as the machines see it: the steps of the scripts on one log, in Go.
type fakeLog struct {
	now      int64 // Redis' time, unix ms
	present  bool
	head     revocation.Head
	entries  []revocation.Entry
	epochs   int
	replicas int // what WAIT answers
}

const lifetime = time.Hour

// whole begins a new epoch unless head and log are both there and nothing is missing.
func (l *fakeLog) whole() {
	n := len(l.entries)
	if l.present && n > 0 && uint64(n) == l.head.Seq-l.head.First+1 &&
		l.entries[n-1].Chain == l.head.Chain {
		return
	}
	l.epochs++
	epoch, err := revocation.ParseEpoch(fmt.Sprintf("%032x", l.epochs))
	if err != nil {
		panic(err)
	}
	genesis := revocation.Genesis(epoch, l.now)
	l.entries, l.present = []revocation.Entry{genesis}, true
	l.head = revocation.Head{
		Epoch: epoch, Seq: 1, Chain: genesis.Chain, First: 1, Mending: l.head.Mending,
		MaxTokenLifetime: lifetime, Era: "era",
	}
}

// append is the append script; false means that the head is not the expected one.
func (l *fakeLog) append(b revocation.Batch) (epoch revocation.Epoch, first uint64, ok bool) {
	l.whole()
	if b.Again && b.Expect != l.head.Position() {
		return l.head.Epoch, 0, false
	}
	first = l.head.Seq + 1
	for _, e := range b.Entries {
		e.Seq = l.head.Seq + 1
		e.Chain = e.After(l.head.Chain)
		l.entries = append(l.entries, e)
		l.head.Seq, l.head.Chain = e.Seq, e.Chain
	}
	return l.head.Epoch, first, true
}

func (l *fakeLog) at(seq uint64) (revocation.Chain, bool) {
	for i := range l.entries {
		if l.entries[i].Seq == seq {
			return l.entries[i].Chain, true
		}
	}
	return revocation.Chain{}, false
}

// onLog is what the lines script says of a position.
func (l *fakeLog) onLog(p revocation.Position) bool {
	c, there := l.at(p.Seq)
	return l.present && p.Epoch == l.head.Epoch && (there && c == p.Chain || p == l.head.Position())
}

// gateBeat answers a gate's heartbeat.
func (l *fakeLog) gateBeat(hb revocation.Heartbeat) revocation.HeartbeatReply {
	r := revocation.HeartbeatReply{
		Replicas: l.replicas, Time: l.now, HeadFound: l.present, Head: l.head,
	}
	r.AtMine, r.AtMineFound = l.at(hb.Position.Seq)
	return r
}

// issuerBeat answers an issuer's heartbeat.
func (l *fakeLog) issuerBeat(hb revocation.Heartbeat,
	settle time.Duration) revocation.HeartbeatReply {
	l.whole()
	over := min(l.now, hb.Times.Expired) - skew.Milliseconds()
	for l.head.First < l.head.Seq && l.entries[0].Expires <= over {
		l.entries = l.entries[1:]
		l.head.First++
	}
	l.head.Mending = min(l.head.Mending, l.now+settle.Milliseconds())
	if hb.Holds && (hb.Mend || !l.onLog(hb.Position) || hb.Stored > l.head.Seq) {
		l.head.Mending = max(l.head.Mending, l.now+settle.Milliseconds())
	}
	return l.gateBeat(hb)
}

// read answers XRANGE and XREAD alike: what lies after a place, silently without what is gone.
func (l *fakeLog) read(rd revocation.Read) []revocation.Entry {
	var out []revocation.Entry
	for _, e := range l.entries {
		if e.Seq > rd.After && len(out) < rd.Count {
			out = append(out, e)
		}
	}
	return out
}

func (l *fakeLog) flush() { l.present, l.entries, l.head = false, nil, revocation.Head{} }

// snapshot is the disk of this moment.
func (l *fakeLog) snapshot() fakeLog {
	s := *l
	s.entries = append([]revocation.Entry(nil), l.entries...)
	return s
}

func (l *fakeLog) restore(s fakeLog) {
	l.present, l.head, l.entries = s.present, s.head, append([]revocation.Entry(nil), s.entries...)
}

// clocks are the clocks of all processes.
type clocks struct {
	mono time.Duration
	log  *fakeLog
	off  time.Duration // how far Redis' is ahead of them
}

func (c *clocks) instant() revocation.Instant {
	return revocation.Instant{Mono: c.mono, Wall: time.UnixMilli(c.log.now).Add(-c.off)}
}

// moveRedis sets Redis' clock so far ahead of the processes'.
func (c *clocks) moveRedis(off time.Duration) {
	c.log.now += (off - c.off).Milliseconds()
	c.off = off
}

// moveAll sets the wall clocks of Redis and of all processes.
func (c *clocks) moveAll(by time.Duration) { c.log.now += by.Milliseconds() }

func (c *clocks) pass(d time.Duration) {
	c.mono += d
	c.log.now += d.Milliseconds()
}

// times are the documented ones.
func times() revocation.CopyConfig {
	return revocation.CopyConfig{
		MaxStaleness: 10 * time.Second, Settle: time.Second, ClockSkew: skew, Page: 3,
	}
}

const heartbeat = 250 * time.Millisecond
