//go:build model

package model

import (
	"fmt"
	"time"

	"github.com/sallyport/sallyport/internal/revocation"

	"github.com/sallyport/sallyport/internal/revocation/liveset"
)

// Now stands still in the model: every process and every server is at this instant, and what they
// remember gets older.
const (
	redisNow = int64(1_700_000_000_000)
	lifetime = time.Hour
	skew     = 30 * time.Second
	iss      = "https://issuer.example"
	pageSize = 2
	mendSize = 2
)

// The one time that moves it is a token's life that passes at once (Limits.Ages): for what is late
// it is so much later. A session at the issuer iss goes on there for longer than the model lasts;
// one of the issuer own ends with its revocation.
const (
	own     = "https://own.example"
	age     = 2 * time.Hour
	abroad  = 720 * time.Hour
	maxDead = -1 // entries that may be dead besides as many as are live: the fewest
)

var now = revocation.Instant{Mono: 1000 * tick, Wall: time.UnixMilli(redisNow)}

func instant(late bool) revocation.Instant {
	if late {
		return revocation.Instant{Mono: now.Mono + age, Wall: now.Wall.Add(age)}
	}
	return now
}

func (p *proc) now() revocation.Instant { return instant(p.late) }

func sessionsLive(issuer string) time.Duration {
	if issuer == iss {
		return abroad
	}
	return 0
}

// issuerOf is the issuer of a session.
func issuerOf(s int) string {
	if s == 0 {
		return iss
	}
	return own
}

// proc is what one process has in memory. It is never changed once it has a number.
type proc struct {
	w    *revocation.Writer // an issuer's
	r    *revocation.Copy
	set  *liveset.Set
	beat *beat
	app  *appending
	late bool

	// What a mutant remembers.
	dropped uint8
}

// beat is a heartbeat under way: Redis has taken its step, the answer has not arrived.
type beat struct {
	hb    revocation.Heartbeat
	reply revocation.HeartbeatReply
	other line // an issuer's: the other issuer's line as found
	same  bool // the process has not begun to read from another place meanwhile
}

// appending is a call of the appending connection under way.
type appending struct {
	request int8 // which request's; -1: entries appended again
	confirm bool
	batch   revocation.Batch
	ok      bool // the script's answer
	epoch   revocation.Epoch
	first   uint64
	before  revocation.Chain
}

func newProc(l *Limits, issuer bool) *proc {
	cfg := revocation.CopyConfig{
		MaxStaleness: time.Duration(l.MaxStaleness) * tick, Settle: time.Duration(l.Settle) * tick,
		ClockSkew: skew, MinReplicas: l.MinReplicas, Page: pageSize,
	}
	set := liveset.New(
		liveset.Config{ClockSkew: skew, Key: liveset.Key{K0: 1, K1: 2}, Shards: 1})
	if !issuer {
		return &proc{r: revocation.NewCopy(cfg, set), set: set}
	}
	w := revocation.NewWriter(cfg, lifetime, set)
	w.SessionsLive(sessionsLive)
	return &proc{w: w, r: w.Copy, set: set}
}

func (p *proc) clone() *proc {
	c := *p
	c.set = p.set.Clone()
	if p.w != nil {
		c.w = p.w.Clone(c.set)
		c.r = c.w.Copy
	} else {
		c.r = p.r.Clone(c.set)
	}
	if p.beat != nil {
		b := *p.beat
		c.beat = &b
	}
	return &c
}

// key is canonical: numbers of connections and readings are in it only as "still the same".
func (p *proc) key(buf []byte) []byte {
	if p.w != nil {
		buf = p.w.AppendState(append(buf, 1))
	} else {
		buf = p.r.AppendState(append(buf, 0))
	}
	buf = p.set.AppendState(buf)
	buf = append(buf, p.dropped, bit(p.late), bit(p.beat != nil), bit(p.app != nil))
	if b := p.beat; b != nil {
		buf = append(buf, bit(b.same), bit(b.hb.Mend), bit(b.hb.Holds), byte(b.hb.Stored),
			byte((p.now().Mono-b.hb.At.Mono)/tick))
		buf = appendPosition(buf, b.hb.Position)
		h := &b.reply.Head
		buf = append(buf, bit(b.reply.HeadFound),
			byte(max(h.Mending-b.reply.Time, 0)/tick.Milliseconds()), byte(h.First))
		buf = appendPosition(buf, h.Position())
		buf = append(append(buf, bit(b.reply.AtMineFound)), b.reply.AtMine[:]...)
		buf = appendPosition(append(buf, bit(b.other.there), b.other.age), b.other.at)
	}
	if a := p.app; a != nil {
		buf = append(buf, byte(a.request), bit(a.confirm), bit(a.ok), bit(a.batch.Again), byte(a.first))
		buf = append(append(buf, a.epoch[:]...), a.before[:]...)
		for i := range a.batch.Entries {
			e := &a.batch.Entries[i]
			buf = append(append(append(buf, e.Value...), e.Actor...), ';')
		}
	}
	return buf
}

func (p *proc) entries(rd revocation.Read, es []revocation.Entry) revocation.Outcome {
	var out revocation.Outcome
	if p.w != nil {
		out = p.w.Entries(rd, es, p.now())
	} else {
		out = p.r.Entries(rd, es, p.now())
	}
	p.moved(&out)
	return out
}

// moved notes whether the heartbeat under way still speaks of the same copy.
func (p *proc) moved(out *revocation.Outcome) {
	if p.beat != nil && (out.Resync != "" || out.Completed) {
		p.beat.same = false
	}
}

func (p *proc) pass(l *Limits) {
	p.r.Pass(tick, l.most(), p.now())
	if p.beat != nil {
		b := p.beat
		at := p.now()
		age := min(at.Mono-b.hb.At.Mono+tick, l.most())
		b.hb.At = revocation.Instant{Mono: at.Mono - age, Wall: at.Wall.Add(-age)}
		then := b.hb.At.Wall.UnixMilli()
		if b.reply.Head.Mending > 0 {
			b.reply.Head.Mending += then - b.reply.Time
		}
		b.reply.Time = then
	}
}

// later is how a token's life passes for a process.
func (p *proc) later() {
	p.r.Later(age)
	p.late = true
	if b := p.beat; b != nil {
		b.hb.At = revocation.Instant{Mono: b.hb.At.Mono + age, Wall: b.hb.At.Wall.Add(age)}
		b.reply.Time += age.Milliseconds()
		if b.reply.Head.Mending > 0 {
			b.reply.Head.Mending += age.Milliseconds()
		}
	}
	p.forget()
}

// forget drops what has expired, as the driver does after each heartbeat: nothing has, before a
// token's life has passed.
func (p *proc) forget() {
	expired, known := p.r.Expired(p.now())
	if !p.late || !known {
		return
	}
	if p.w != nil {
		p.w.Forget(expired, 64)
	}
	p.set.Sweep(expired, p.set.Shards())
}

func (p *proc) connected() {
	if p.w != nil {
		p.w.Connected()
	} else {
		p.r.Connected()
	}
}

func (p *proc) denies(s int) bool {
	return p.dropped>>s&1 == 0 &&
		p.set.Check(&revocation.Facts{Issuer: issuerOf(s), SessionID: sid(s)}).Revoked
}

func (p *proc) view() (fresh bool, last uint8) {
	v := p.r.View()
	return v.Freshness(p.now()).Fresh, uint8((p.now().Mono - v.Last.Mono) / tick)
}

func sid(s int) string { return fmt.Sprintf("s%d", s) }

func requestFor(q, s int) []revocation.Request {
	return []revocation.Request{
		{
			Kind: revocation.KindSID, Issuer: issuerOf(s), Value: sid(s), Actor: fmt.Sprintf("q%d", q),
		},
	}
}
