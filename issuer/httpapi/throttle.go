package httpapi

import (
	"encoding/binary"
	"hash/maphash"
	"net/netip"
	"sync/atomic"
	"time"

	"github.com/sallyport/sallyport/internal/credential"
)

const (
	throttleRows    = 2
	throttleColumns = 1 << 15
)

// Throttle lets each address through at a rate, in fixed memory however many addresses there are.
// It is a generic cell rate algorithm over a sketch: an address has one cell in each row, and the
// emptier one counts. An address is refused only when others fill both of its cells, and no flood
// of addresses makes it forget one.
type Throttle struct {
	every time.Duration
	slack time.Duration
	seeds [throttleRows]maphash.Seed
	// when the cell is empty again, in nanoseconds since start
	cells [throttleRows][throttleColumns]atomic.Int64
	start time.Time
}

// NewThrottle makes a Throttle whose times are counted from start.
func NewThrottle(rate credential.Rate, start time.Time) *Throttle {
	t := &Throttle{every: rate.Every, slack: time.Duration(rate.Burst-1) * rate.Every, start: start}
	for i := range t.seeds {
		t.seeds[i] = maphash.MakeSeed()
	}
	return t
}

// Take counts one request. It returns how long to wait when the address has made too many; a
// refused request is not counted.
func (t *Throttle) Take(a netip.Addr, now time.Time) (wait time.Duration) {
	key := throttleKey(a)
	since := int64(now.Sub(t.start))
	var cells [throttleRows]*atomic.Int64
	wait = 1<<63 - 1 // the emptier cell counts: it has fewer of others' requests in it
	for i := range cells {
		cells[i] = &t.cells[i][maphash.Bytes(t.seeds[i], key[:])%throttleColumns]
		wait = min(wait, time.Duration(cells[i].Load()-since)-t.slack)
	}
	// A refused request is not counted: who goes on asking is let in as soon as who waits.
	if wait > 0 {
		return wait
	}
	for _, c := range cells {
		t.count(c, since)
	}
	return 0
}

func (t *Throttle) count(c *atomic.Int64, since int64) {
	for {
		old := c.Load()
		if c.CompareAndSwap(old, max(old, since)+int64(t.every)) {
			return
		}
	}
}

// throttleKey counts an IPv6 client by its /64: a client has all of it.
func throttleKey(a netip.Addr) [16]byte {
	key := a.As16()
	if a.Is6() && !a.Is4In6() {
		binary.BigEndian.PutUint64(key[8:], 0)
	}
	return key
}
