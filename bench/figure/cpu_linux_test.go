package figure

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"
)

// TestProcessorTimeIsThatOfAllThreads holds the clock against /proc/PID/stat, fields 14 and 15 in
// hundredths of a second (proc_pid_stat(5)), after several threads have worked.
func TestProcessorTimeIsThatOfAllThreads(t *testing.T) {
	ended := make(chan struct{})
	for range 3 {
		go func() {
			for began := time.Now(); time.Since(began) < 100*time.Millisecond; {
			}
			ended <- struct{}{}
		}()
	}
	for range 3 {
		<-ended
	}
	before, err := CPU(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	said := stat(t)
	after, err := CPU(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	// Each of the two fields is rounded down.
	if said > after || said < before-20*time.Millisecond {
		t.Errorf("expected %v to %v, got %v of /proc", before, after, said)
	}
}

func stat(t *testing.T) time.Duration {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", os.Getpid()))
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(text), ") ")
	fields := strings.Fields(rest) // from the third on
	var ticks int
	for _, field := range fields[11:13] {
		n, err := strconv.Atoi(field)
		if err != nil {
			t.Fatal(err)
		}
		ticks += n
	}
	return time.Duration(ticks) * 10 * time.Millisecond
}

func TestThereIsNoProcessorTimeOfNoProcess(t *testing.T) {
	for _, pid := range []int{0, -1, 1 << 28} {
		if _, err := CPU(pid); err == nil {
			t.Errorf("process %d: expected an error", pid)
		}
	}
}
