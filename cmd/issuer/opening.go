package main

import "sync/atomic"

// opening keeps the door shut until the log has been ready once: until then Redis may not have been
// checked, and is perhaps one that loses what it acknowledges. Afterwards each request finds out
// for itself what it needs.
type opening struct {
	ready  func() error
	opened atomic.Bool
}

func (o *opening) check() error {
	if o.opened.Load() {
		return nil
	}
	err := o.ready()
	if err == nil {
		o.opened.Store(true)
	}
	return err
}
