package figure

import (
	"fmt"
	"time"

	"golang.org/x/sys/unix"
)

// CPU returns the processor time that a process has had since it started, all threads of it, those
// that have ended too, to the nanosecond: its CPU-time clock (clock_getcpuclockid(3)). What
// /proc/PID/stat says is the same in hundredths of a second.
func CPU(pid int) (time.Duration, error) {
	if pid <= 0 {
		return 0, fmt.Errorf("figure: expected a process, got %d", pid)
	}
	const scheduler = 2 // CPUCLOCK_SCHED of a process
	var ts unix.Timespec
	if err := unix.ClockGettime(int32(^pid<<3|scheduler), &ts); err != nil {
		return 0, fmt.Errorf("figure: the processor time of process %d: %w", pid, err)
	}
	return time.Duration(ts.Nano()), nil
}
