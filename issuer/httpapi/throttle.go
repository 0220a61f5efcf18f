package httpapi

import (
	"encoding/binary"
	"net/netip"
	"sync"
	"time"

	"github.com/sallyport/sallyport/internal/credential"
	"github.com/sallyport/sallyport/internal/gcra"
)

// throttleColumns has the counts of all addresses take 512 KiB.
const throttleColumns = 1 << 14

// Throttle lets each address through at a rate, in fixed memory however many addresses there are.
type Throttle struct {
	start  time.Time
	mu     sync.Mutex // of counts
	counts *gcra.Sketch[[16]byte]
}

// NewThrottle makes a Throttle whose times are counted from start.
func NewThrottle(rate credential.Rate, start time.Time) *Throttle {
	counts := gcra.New[[16]byte](rate.Burst, rate.Every, throttleColumns)
	return &Throttle{start: start, counts: counts}
}

// Take counts one request. It returns how long to wait when the address has made too many; a
// refused request is not counted.
func (t *Throttle) Take(a netip.Addr, now time.Time) (wait time.Duration) {
	key, since := throttleKey(a), now.Sub(t.start)
	t.mu.Lock()
	defer t.mu.Unlock()
	if wait = t.counts.Wait(since, key, 1); wait == 0 {
		t.counts.Add(since, key)
	}
	return wait
}

// throttleKey counts an IPv6 client by its /64: a client has all of it.
func throttleKey(a netip.Addr) [16]byte {
	key := a.As16()
	if a.Is6() && !a.Is4In6() {
		binary.BigEndian.PutUint64(key[8:], 0)
	}
	return key
}
