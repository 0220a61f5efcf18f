package redislog

import (
	"strconv"
	"sync"

	"github.com/sallyport/sallyport/internal/revocation"
)

// history is what a process has applied last of the log that it is on, without a gap: what a relay
// hands on, and by which it judges whether a gate's place lies on its own log. It has nothing while
// the copy is not complete.
type history struct {
	key string // of the log in Redis

	mu      sync.Mutex // guards what follows
	on      bool
	epoch   revocation.Epoch
	seq     uint64 // the place before the first of entries
	chain   revocation.Chain
	entries []handedOn
}

// handedOn is an entry as Redis answers it.
type handedOn struct {
	chain revocation.Chain
	wire  []byte
}

// keptEntries is how many entries a history holds at least once there have been as many, and half
// of the most: at 1,000 a second, those of the last sixteen seconds.
const keptEntries = 1 << 14

// note takes what an event has applied, and the position after it. What does not follow what it has
// begins a new history.
func (h *history) note(applied []revocation.Entry, p revocation.Position, complete bool) {
	if h == nil {
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if !complete {
		h.on, h.entries = false, nil
		return
	}
	if h.on && h.last() == p {
		return
	}
	if !h.on || h.epoch != p.Epoch || len(applied) == 0 || applied[0].Seq != h.last().Seq+1 {
		h.begin(p)
		return
	}
	for i := range applied {
		h.entries = append(h.entries, handedOn{applied[i].Chain, wireOf(&applied[i])})
	}
	if h.last() != p {
		h.begin(p)
	}
	if drop := len(h.entries) - keptEntries; drop >= keptEntries {
		h.seq, h.chain = h.seq+uint64(drop), h.entries[drop-1].chain
		h.entries = append([]handedOn(nil), h.entries[drop:]...) // lets go of the others' memory
	}
}

func (h *history) begin(p revocation.Position) {
	h.on, h.epoch, h.seq, h.chain, h.entries = true, p.Epoch, p.Seq, p.Chain, nil
}

func (h *history) last() revocation.Position {
	p := revocation.Position{Epoch: h.epoch, Seq: h.seq + uint64(len(h.entries)), Chain: h.chain}
	if n := len(h.entries); n > 0 {
		p.Chain = h.entries[n-1].chain
	}
	return p
}

// judge marks those lines whose positions lie on this history as on the log, and no others, and
// returns its newest place: the zero Position while there is none. Whoever is at a place on it has
// applied, up to there, what this process has.
func (h *history) judge(lines []revocation.Line) revocation.Position {
	h.mu.Lock()
	defer h.mu.Unlock()
	for k := range lines {
		lines[k].OnLog = h.has(lines[k].Position)
	}
	if !h.on {
		return revocation.Position{}
	}
	return h.last()
}

func (h *history) has(p revocation.Position) bool {
	switch {
	case !h.on || p.Epoch != h.epoch || p.Seq < h.seq || p.Seq > h.seq+uint64(len(h.entries)):
		return false
	case p.Seq == h.seq:
		return p.Chain == h.chain
	}
	return p.Chain == h.entries[p.Seq-h.seq-1].chain
}

// after returns up to count entries behind a place, as XREAD answers them; nil if there are none
// yet. known is false if it cannot tell.
func (h *history) after(seq uint64, count int) (answer []byte, known bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if !h.on || seq < h.seq || seq > h.seq+uint64(len(h.entries)) {
		return nil, false
	}
	entries := h.entries[seq-h.seq:]
	if entries = entries[:min(len(entries), count)]; len(entries) == 0 {
		return nil, true
	}
	size := 64 + len(h.key)
	for k := range entries {
		size += len(entries[k].wire)
	}
	answer = AppendBulk(append(make([]byte, 0, size), "*1\r\n*2\r\n"...), h.key)
	answer = AppendCount(answer, '*', len(entries))
	for k := range entries {
		answer = append(answer, entries[k].wire...)
	}
	return answer, true
}

// wireOf returns an entry as Redis answers it: its id, and its two fields.
func wireOf(e *revocation.Entry) []byte {
	b := AppendBulk([]byte("*2\r\n"), strconv.FormatUint(e.Seq, 10)+"-0")
	b = append(b, "*4\r\n"...)
	for _, s := range [...]string{
		revocation.BodyField, e.Body(), revocation.ChainField, e.Chain.String(),
	} {
		b = AppendBulk(b, s)
	}
	return b
}

// AppendBulk appends a string as RESP2 has it.
func AppendBulk(b []byte, s string) []byte {
	return append(append(AppendCount(b, '$', len(s)), s...), "\r\n"...)
}

// AppendCount appends the line that begins an array or a string.
func AppendCount(b []byte, kind byte, n int) []byte {
	return append(strconv.AppendInt(append(b, kind), int64(n), 10), "\r\n"...)
}
