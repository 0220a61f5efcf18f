//go:build movableclock

package clock

import (
	"fmt"
	"os"
	"sync/atomic"
	"syscall"
	"time"
	"unsafe"
)

// variable names the variable that holds the path of a file by which the clocks are moved: two
// numbers of nanoseconds, of 64 bits in this machine's order, the wall clock's and the monotonic
// one's. It is mapped into memory, so that what is written there holds at once.
const variable = "MOVABLE_CLOCK"

var offsets = mapped(os.Getenv(variable))

// mapped maps the file. A test that moves clocks which do not move would prove nothing, so an error
// ends the program.
func mapped(path string) *[2]atomic.Int64 {
	if path == "" {
		return &[2]atomic.Int64{}
	}
	f, err := os.Open(path)
	if err != nil {
		panic(fmt.Errorf("clock: %s: %w", variable, err))
	}
	defer f.Close()
	page, err := syscall.Mmap(int(f.Fd()), 0, 16, syscall.PROT_READ, syscall.MAP_SHARED)
	if err != nil {
		panic(fmt.Errorf("clock: %s: mapping %s: %w", variable, path, err))
	}
	return (*[2]atomic.Int64)(unsafe.Pointer(unsafe.SliceData(page)))
}

// moved returns by how much the clocks have been moved.
func moved() (monotonic, wall time.Duration) {
	return time.Duration(offsets[1].Load()), time.Duration(offsets[0].Load())
}
