package keyset

import (
	"context"
	"time"
)

// Waiters bounds how many callers wait for keys at a time, whichever issuer's, and how long each:
// whoever takes all places with keys of slow issuers must not keep another issuer's new key out.
type Waiters struct {
	places chan struct{}
	wait   time.Duration
}

// NewWaiters lets so many wait at a time, each for so long.
func NewWaiters(most int, wait time.Duration) *Waiters {
	return &Waiters{places: make(chan struct{}, most), wait: wait}
}

// Await has a missing key fetched, and reports whether it is there now. Where all places are taken
// the key is fetched for those who come later, nothing is waited for, and crowded is true.
func (w *Waiters) Await(ctx context.Context, keys interface {
	Await(ctx context.Context, iss, kid string) bool
}, iss, kid string) (known, crowded bool) {
	wait := w.wait
	select {
	case w.places <- struct{}{}:
		defer func() { <-w.places }()
	default:
		crowded, wait = true, 0 // Await begins the fetch all the same
	}
	ctx, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	return keys.Await(ctx, iss, kid), crowded
}

// Waiting returns how many wait now.
func (w *Waiters) Waiting() int { return len(w.places) }
