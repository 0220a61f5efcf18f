//go:build model

package model

import (
	"encoding/binary"
	"fmt"

	"github.com/sallyport/sallyport/internal/revocation"
	"github.com/sallyport/sallyport/internal/session"
)

// data is all that one Redis server holds. It is never changed once it has a number.
type data struct {
	head     bool // the head's key is there
	epoch    revocation.Epoch
	seq      uint64
	chain    revocation.Chain
	first    uint64
	mending  uint8 // heartbeats until it has passed
	entries  []revocation.Entry
	sessions [maxSessions]session.State
	lines    [maxIssuers]line
	late     bool   // a token's life has passed
	old      uint64 // up to this place all was written so long ago

	has uint8 // which sessions have an entry
}

// line is an issuer's line.
type line struct {
	there bool
	at    revocation.Position
	age   uint8 // heartbeats since it was written
}

func (d *data) key(buf []byte) []byte {
	buf = append(buf, bit(d.head))
	if d.head {
		buf = append(buf, d.epoch[:]...)
		buf = binary.BigEndian.AppendUint64(buf, d.seq)
		buf = append(buf, d.chain[:]...)
		buf = binary.BigEndian.AppendUint64(buf, d.first)
		buf = append(buf, d.mending)
		buf = binary.BigEndian.AppendUint64(buf, d.old)
	}
	buf = append(buf, bit(d.late))
	for i := range d.sessions {
		buf = append(buf, byte(d.sessions[i]))
	}
	for i := range d.lines {
		buf = appendPosition(append(buf, bit(d.lines[i].there), d.lines[i].age), d.lines[i].at)
	}
	for i := range d.entries {
		buf = append(binary.BigEndian.AppendUint64(buf, d.entries[i].Seq), d.entries[i].Chain[:]...)
	}
	return buf
}

func appendPosition(buf []byte, p revocation.Position) []byte {
	buf = append(buf, p.Epoch[:]...)
	buf = binary.BigEndian.AppendUint64(buf, p.Seq)
	return append(buf, p.Chain[:]...)
}

func (d *data) now() int64 { return instant(d.late).Wall.UnixMilli() }

func bit(b bool) byte {
	if b {
		return 1
	}
	return 0
}

// clone is a copy to be changed; its entries must not be changed in place.
func (d *data) clone() *data {
	c := *d
	return &c
}

func (d *data) position() revocation.Position {
	return revocation.Position{Epoch: d.epoch, Seq: d.seq, Chain: d.chain}
}

func (d *data) at(seq uint64) (revocation.Chain, bool) {
	for i := range d.entries {
		if d.entries[i].Seq == seq {
			return d.entries[i].Chain, true
		}
	}
	return revocation.Chain{}, false
}

// whole is what the scripts call so.
func (d *data) whole() bool {
	c, there := d.at(d.seq)
	return d.head && len(d.entries) > 0 && uint64(len(d.entries)) == d.seq-d.first+1 && there &&
		c == d.chain
}

// onLog is what the scripts call so.
func (d *data) onLog(p revocation.Position) bool {
	if !d.head || p.Epoch != d.epoch || p.Seq < 1 {
		return false
	}
	c, there := d.at(p.Seq)
	return there && c == p.Chain || p == d.position()
}

// ensure begins a new epoch at Redis' time at, unless the log is whole, and reports whether it did.
func (d *data) ensure(random uint8, at int64) bool {
	if d.whole() {
		return false
	}
	epoch, err := revocation.ParseEpoch(epochBits(random))
	if err != nil {
		panic(err) // 32 hexadecimal digits
	}
	genesis := revocation.Genesis(epoch, at)
	if !d.head {
		d.mending = 0
	}
	d.head, d.epoch, d.seq, d.chain, d.first = true, epoch, 1, genesis.Chain, 1
	d.old = 0
	d.entries = []revocation.Entry{genesis}
	return true
}

// epochBits are the random bits of an epoch.
func epochBits(random uint8) string { return fmt.Sprintf("%032x", int(random)+1) }

// write appends an entry.
func (d *data) write(e revocation.Entry) {
	e.Seq = d.seq + 1
	e.Chain = e.After(d.chain)
	d.seq, d.chain = e.Seq, e.Chain
	d.entries = append(d.entries[:len(d.entries):len(d.entries)], e)
}

// append is the append script after ensure; false means that the head is not the expected one.
func (d *data) append(b *revocation.Batch) (first uint64, before revocation.Chain, ok bool) {
	if b.Again && b.Expect != d.position() {
		return 0, d.chain, false
	}
	first, before = d.seq+1, d.chain
	for i := range b.Entries {
		d.write(b.Entries[i])
	}
	return first, before, true
}

// misses reports whether an issuer's heartbeat finds that the log may lack what the issuer holds.
func (d *data) misses(hb *revocation.Heartbeat) bool { return hb.Holds && d.lacks(hb) }

// lacks is what the heartbeat script calls so.
func (d *data) lacks(hb *revocation.Heartbeat) bool {
	mine, found := d.at(hb.Position.Seq)
	onIt := d.head && hb.Position.Epoch == d.epoch &&
		(found && mine == hb.Position.Chain || hb.Position == d.position())
	return hb.Mend || !onIt || hb.Stored > d.seq
}

// trimming is what the heartbeat script is told for trimming the log.
type trimming struct {
	now, over  int64 // Redis' time; expired is what expires up to the latter
	skew, life int64 // ms
	spare      int
	carry      bool // else a live entry is dropped where it should be carried on
}

// trim is the heartbeat script's.
func (d *data) trim(t *trimming, live int, lacks bool) {
	last, dropped := d.seq, 0
	for i := 0; i < len(d.entries) && d.first+uint64(dropped) < last; i++ {
		e, at := d.entries[i], d.first+uint64(dropped)
		if e.Expires+t.skew > t.over {
			enough := int64(2*live + t.spare)
			if lacks || live < 0 || at <= 1 || at > d.old || int64(d.seq-at+1) <= enough ||
				e.Expires <= t.now+t.life {
				break
			}
			if t.carry {
				d.write(e)
			}
		}
		dropped++
	}
	d.entries = d.entries[dropped:]
	d.first += uint64(dropped)
}

// confirm is the confirm script.
func (d *data) confirm(i int, p revocation.Position, watched bool) bool {
	if !d.whole() || !d.onLog(p) {
		return false
	}
	if watched {
		d.lines[i] = line{there: true, at: p}
	}
	return true
}

// reply is what both heartbeats read in their one step.
func (d *data) reply(hb *revocation.Heartbeat) revocation.HeartbeatReply {
	r := revocation.HeartbeatReply{Time: d.now(), HeadFound: d.head}
	if d.head {
		r.Head = revocation.Head{
			Epoch:            d.epoch,
			Seq:              d.seq,
			Chain:            d.chain,
			First:            d.first,
			MaxTokenLifetime: lifetime,
			Era:              "era",
		}
		if d.mending > 0 {
			r.Head.Mending = d.now() + int64(d.mending)*tick.Milliseconds()
		}
	}
	r.AtMine, r.AtMineFound = d.at(hb.Position.Seq)
	return r
}

// read answers XRANGE and XREAD alike: what lies behind a place, silently without what is gone.
func (d *data) read(after uint64, count int) []revocation.Entry {
	for i := range d.entries {
		if d.entries[i].Seq > after {
			return d.entries[i:min(i+count, len(d.entries))]
		}
	}
	return nil
}

// mark is the script that marks a session as ending; it returns what it was.
func (d *data) mark(value string) session.State {
	for s := range d.sessions {
		if sid(s) == value {
			before := d.sessions[s]
			if before == session.Active {
				d.sessions[s] = session.Ending
			}
			return before
		}
	}
	return session.Missing
}
