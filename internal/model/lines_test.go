//go:build model

package model

import (
	"time"

	"github.com/sallyport/sallyport/internal/revocation"
)

// live is redislog.Issuer.Live.
func (m *model) live(p procID, q, s int) bool {
	return m.once(event{kind: evLive, proc: p, number: int32(q<<4 | s)}, func() result {
		fresh, _ := m.procs[p].view()
		_, found := m.procs[p].w.Find(requestFor(q, s), m.procs[p].now())
		return result{ok: fresh && found}
	}).ok
}

func (m *model) locate(p procID, q, s int) (posID, bool) {
	r := m.once(event{kind: evLocate, proc: p, number: int32(q<<4 | s)}, func() result {
		at, found := m.procs[p].w.Locate(m.batchFor(p, q, s))
		return result{at: m.pos(at), ok: found}
	})
	return r.at, r.ok
}

// holder judges the issuers' lines: the other's as found, and whether it lies on the log. How old
// one is that is there, the issuer is taken to know exactly; one that is not there it last saw to
// move peerAge ago.
func (m *model) holder(other line, peerAge uint8, onLog bool,
	at revocation.Position) revocation.Holder {
	var l revocation.Lines
	lines := []revocation.Line{{Name: "other", Position: other.at, OnLog: onLog}}
	age := peerAge
	if other.there {
		age = other.age
	}
	if age < m.old() {
		l.Observe(lines, revocation.Instant{Mono: now.Mono - time.Duration(age)*tick, Wall: now.Wall})
	} else {
		l.Observe(lines, revocation.Instant{Mono: now.Mono - 3*time.Hour, Wall: now.Wall})
	}
	if !other.there {
		lines = nil
	}
	l.Observe(lines, now)
	return l.SecondHolder(lines, "self", at, time.Duration(m.limits.Settle)*tick, now)
}

// told is what a server holds once issuer n has written its line there.
func (m *model) told(n int, d dataID, at posID) dataID {
	return m.once(event{evTell, procID(n), d, int32(at)}, func() result {
		after := m.datas[d].clone()
		after.lines[n-1] = line{there: true, at: m.poss[at]}
		return result{data: m.data(after)}
	}).data
}
