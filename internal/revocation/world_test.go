package revocation_test

import (
	"fmt"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/sallyport/sallyport/internal/revocation"
	"github.com/sallyport/sallyport/internal/revocation/liveset"
)

// world is issuers and gates on one log, moved step by step by rapid: heartbeats in any order,
// answers lost, appends that happen or not, and a budget of faults.
type world struct {
	*rapid.T
	clocks
	log     fakeLog
	issuers []*member
	gates   []*member
	waiting []*pending
	acked   map[string]time.Duration // when each revocation was acknowledged
	faults  int
	serial  int
	disk    fakeLog
}

// member is one process.
type member struct {
	name   string
	r      *revocation.Copy
	set    *liveset.Set
	w      *revocation.Writer // of an issuer
	denied map[string]bool
	up     time.Duration // since when it runs
}

func (m *member) connected() {
	if m.w != nil {
		m.w.Connected()
		return
	}
	m.r.Connected()
}

// pending is a stored append that waits for its second holder.
type pending struct {
	by  *member
	sid string
	at  revocation.Position
}

func newWorld(t *rapid.T, issuers, gates, faults int) *world {
	w := &world{T: t, acked: map[string]time.Duration{}, faults: faults}
	w.log.now, w.clocks.log = at*1000, &w.log
	for n := range issuers {
		w.issuers = append(w.issuers, w.issuer(fmt.Sprintf("issuer-%d", n)))
	}
	for n := range gates {
		w.gates = append(w.gates, w.gate(fmt.Sprintf("gate-%d", n)))
	}
	for range 8 {
		w.round(false)
	}
	w.disk = w.log.snapshot()
	return w
}

func (w *world) issuer(name string) *member {
	set := newSet()
	m := &member{
		name: name, w: revocation.NewWriter(times(), lifetime, set), set: set, up: w.mono,
	}
	m.r = m.w.Copy
	m.w.Connected()
	return m
}

func (w *world) gate(name string) *member {
	set := newSet()
	m := &member{
		name: name, r: revocation.NewCopy(times(), set), set: set, denied: map[string]bool{},
		up: w.mono,
	}
	m.r.Connected()
	return m
}

// beat sends a heartbeat; its answer may be lost.
func (w *world) beat(m *member, lost bool) {
	if m.w == nil {
		hb := m.r.Beat(w.instant())
		a := w.log.gateBeat(hb)
		if lost {
			m.r.BeatFailed(hb)
			m.r.Connected()
			return
		}
		m.r.Answered(hb, a, w.instant())
		return
	}
	hb := m.w.Beat(w.instant())
	a := w.log.issuerBeat(hb, times().Settle)
	if lost {
		m.w.BeatFailed(hb)
		m.w.Connected()
		return
	}
	m.w.Answered(hb, a, w.instant())
	if b, ok := m.w.Mend(w.instant(), 2); ok {
		w.store(m, b)
	}
}

func (w *world) store(m *member, b revocation.Batch) (revocation.Position, bool) {
	before := w.log.head.Chain
	epoch, first, ok := w.log.append(b)
	if !ok {
		m.w.Failed(b)
		return revocation.Position{}, false
	}
	if first == 2 {
		before = w.log.entries[0].Chain // a new epoch may have begun
	}
	return m.w.Stored(b, epoch, first, before), true
}

// read does one read.
func (w *world) read(m *member) {
	rd := m.r.Next()
	entries := w.log.read(rd)
	switch {
	case rd.Mode == revocation.ReadNothing, len(entries) == 0 && rd.Mode == revocation.ReadTail:
	case m.w != nil:
		m.w.Entries(rd, entries, w.instant())
	default:
		m.r.Entries(rd, entries, w.instant())
	}
}

// round is one heartbeat of every issuer and, as rapid likes, of the gates, with some reading, in
// rapid's order.
func (w *world) round(rough bool) {
	all := append(append([]*member(nil), w.issuers...), w.gates...)
	if rough {
		all = rapid.Permutation(all).Draw(w.T, "order")
	}
	for _, m := range all {
		if rough && m.w == nil && rapid.IntRange(0, 4).Draw(w.T, "gate sleeps") == 0 {
			continue
		}
		w.beat(m, rough && m.w == nil && rapid.IntRange(0, 9).Draw(w.T, "answer lost") == 0)
		reads := 12
		if rough {
			reads = rapid.IntRange(1, 12).Draw(w.T, "reads")
		}
		for range reads {
			w.read(m)
		}
		w.judge()
	}
	w.pass(heartbeat)
	w.judge()
}

// revoke begins an append; rapid says whether it happens and whether the issuer is told.
func (w *world) revoke() {
	m := rapid.SampledFrom(w.issuers).Draw(w.T, "issuer")
	w.serial++
	id := fmt.Sprintf("s%d", w.serial)
	b, err := m.w.Begin([]revocation.Request{{Kind: revocation.KindSID, Issuer: iss, Value: id}},
		w.instant())
	if err != nil {
		return
	}
	if !m.set.Check(&revocation.Facts{Issuer: iss, SessionID: id}).Revoked {
		w.Fatalf("%s: not in the issuer's own set first", id)
	}
	switch rapid.SampledFrom([]string{"stored", "stored", "stored", "answer lost", "not stored"}).
		Draw(w.T, "append") {
	case "stored":
		if p, ok := w.store(m, b); ok {
			w.waiting = append(w.waiting, &pending{m, id, p})
		}
	case "answer lost":
		w.log.append(b)
		m.w.Failed(b)
	default:
		m.w.Failed(b)
	}
}

// acknowledge answers the appends that have their second holder.
func (w *world) acknowledge() {
	kept := w.waiting[:0]
	for _, p := range w.waiting {
		held, others, running := false, 0, false
		for _, m := range w.issuers {
			running = running || m == p.by
			if m != p.by {
				others++
				q := m.r.Position()
				held = held || w.log.onLog(q) && q.Epoch == p.at.Epoch && q.Seq >= p.at.Seq
			}
		}
		switch {
		case !running || !w.log.onLog(p.at): // never answered
		case held || others == 0:
			w.acked[p.sid] = w.mono
		default:
			kept = append(kept, p)
		}
	}
	w.waiting = kept
}

func (w *world) fault() {
	if w.faults == 0 {
		return
	}
	w.faults--
	faults := []string{"flush", "trim", "delete", "old disk", "gate", "issuer", "clock"}
	switch rapid.SampledFrom(faults).Draw(w.T, "fault") {
	case "flush":
		w.log.flush()
	case "trim":
		n := len(w.log.entries)
		w.log.entries = w.log.entries[rapid.IntRange(0, n).Draw(w.T, "keep from"):]
	case "delete":
		w.log.entries = nil
	case "old disk":
		w.log.restore(w.disk)
		for _, m := range append(append([]*member(nil), w.issuers...), w.gates...) {
			m.connected() // a server that restarts drops every connection
		}
	case "clock":
		w.moveRedis(rapid.SampledFrom([]time.Duration{
			300 * time.Second, -300 * time.Second, 2 * time.Hour, -2 * time.Hour,
			50 * time.Hour, 20 * time.Second, -20 * time.Second, 1300 * time.Millisecond,
		}).Draw(w.T, "by"))
	case "gate":
		n := rapid.IntRange(0, len(w.gates)-1).Draw(w.T, "which")
		w.gates[n] = w.gate(w.gates[n].name)
	case "issuer":
		n := rapid.IntRange(0, len(w.issuers)-1).Draw(w.T, "which")
		w.issuers[n] = w.issuer(w.issuers[n].name)
	}
}

// judge holds every gate to the promises at this moment.
func (w *world) judge() {
	for _, g := range w.gates {
		v := g.r.View()
		fresh := v.Freshness(w.instant()).Fresh
		for n := 1; n <= w.serial; n++ {
			id := fmt.Sprintf("s%d", n)
			revoked := g.set.Check(&revocation.Facts{Issuer: iss, SessionID: id}).Revoked
			if g.denied[id] && !revoked {
				w.Fatalf("S3: %s allows %s, which it has denied", g.name, id)
			}
			g.denied[id] = g.denied[id] || revoked
			if acked, ok := w.acked[id]; ok && fresh && !revoked && acked <= v.Last.Mono {
				w.Fatalf("S4: %s was confirmed at %s and allows %s, acknowledged at %s (now %s)",
					g.name, v.Last.Mono, id, acked, w.mono)
			}
		}
	}
}

// TestNothingAcknowledgedIsLost drives issuers and gates through random schedules with as many
// faults as S4 allows.
func TestNothingAcknowledgedIsLost(t *testing.T) {
	for _, c := range []struct{ issuers, faults int }{{1, 1}, {2, 2}, {3, 2}} {
		t.Run(fmt.Sprintf("%d issuers, %d faults", c.issuers, c.faults), func(t *testing.T) {
			acked := 0
			rapid.Check(t, func(t *rapid.T) {
				w := newWorld(t, c.issuers, 2, c.faults)
				for range rapid.IntRange(1, 40).Draw(t, "steps") {
					switch rapid.IntRange(0, 8).Draw(t, "step") {
					case 0:
						w.fault()
					case 1, 2, 3:
						w.revoke()
					case 4:
						w.disk = w.log.snapshot()
					case 5:
						w.moveRedis(0)
					default:
						w.round(true)
					}
					w.acknowledge()
				}
				w.moveRedis(0)
				for range 40 {
					w.round(false)
				}
				for _, g := range w.gates {
					if v := g.r.View(); !v.Freshness(w.instant()).Fresh {
						t.Fatalf("L1: %s is not fresh ten seconds after the last fault: %v",
							g.name, v.Ready(w.instant()))
					}
				}
				acked += len(w.acked)
			})
			if acked == 0 {
				t.Error("nothing was ever acknowledged")
			}
		})
	}
}
