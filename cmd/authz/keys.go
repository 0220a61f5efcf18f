package main

import (
	"time"

	"github.com/sallyport/sallyport/internal/clock"
)

// keySetAge is the age of the oldest key set, for the list of gates; 0 while there is none.
func (g *gate) keySetAge() time.Duration {
	var oldest time.Duration
	for _, s := range g.keys.Status() {
		if !s.Fetched.IsZero() {
			oldest = max(oldest, clock.Now().Sub(s.Fetched))
		}
	}
	return oldest
}
