package load

import (
	"fmt"
	"runtime"
	"time"

	"golang.org/x/sys/unix"
)

// pacer waits to the microsecond: the runtime's own timers, and a thread with the usual slack,
// wake up some sixty microseconds late, which would be most of a latency at half load.
type pacer struct{ slack int }

func newPacer() (*pacer, error) {
	runtime.LockOSThread()
	slack, err := unix.PrctlRetInt(unix.PR_GET_TIMERSLACK, 0, 0, 0, 0)
	if err == nil {
		err = unix.Prctl(unix.PR_SET_TIMERSLACK, 1, 0, 0, 0)
	}
	if err != nil {
		runtime.UnlockOSThread()
		return nil, fmt.Errorf("load: the timers' slack: %w", err)
	}
	return &pacer{slack}, nil
}

// close gives the thread back as it was.
func (p *pacer) close() {
	_ = unix.Prctl(unix.PR_SET_TIMERSLACK, uintptr(p.slack), 0, 0, 0) // it was set before
	runtime.UnlockOSThread()
}

func (p *pacer) until(due time.Time) {
	for left := time.Until(due); left > 0; left = time.Until(due) {
		ts := unix.NsecToTimespec(int64(left))
		_ = unix.Nanosleep(&ts, nil) // a signal ends it early, and the loop goes on
	}
}
