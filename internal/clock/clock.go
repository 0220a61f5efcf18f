// Package clock is where our daemons read the time that tokens, sessions and the revocation log are
// judged by: those are handed it. What only measures how long something takes reads the monotonic
// clock through package time.
//
// In a program built with the tag movableclock, which is for tests alone, both clocks can be moved
// while it runs. A program built without it reads the machine's clocks and has no way to be told
// another time.
package clock

import "time"

// start is the moment from which the monotonic time counts.
var start = time.Now()

// Read returns what both clocks show at one moment.
func Read() (monotonic time.Duration, wall time.Time) {
	now := time.Now() // Go's time carries the monotonic clock along: one call reads both
	byMonotonic, byWall := moved()
	return now.Sub(start) + byMonotonic, now.Round(0).Add(byWall)
}

// Steady returns a time that only the monotonic clock moves on: for limits and whatever else
// measures how long ago something was, which a wall clock that is set must neither lengthen nor cut
// short.
func Steady() time.Time {
	monotonic, _ := Read()
	return start.Add(monotonic)
}

// Now returns the time, as time.Now does.
func Now() time.Time {
	_, wall := moved()
	return time.Now().Add(wall)
}
