package world

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// CPUSet is some of the machine's cores, by number.
type CPUSet []int

func (s CPUSet) String() string {
	texts := make([]string, len(s))
	for i, n := range s {
		texts[i] = strconv.Itoa(n)
	}
	return strings.Join(texts, ",")
}

// Cores is who runs where, so that what is measured has a core of its own.
type Cores struct {
	Measured CPUSet // the server, or Envoy when it is measured: one core
	Behind   CPUSet // the server behind Envoy: one core
	Rest     CPUSet // the generator, Redis and what writes revocations
	All      CPUSet // what this process may use
}

// ChooseCores shares out the cores that this process may use. With two, the server behind Envoy
// shares the generator's.
func ChooseCores() (Cores, error) {
	var mask unix.CPUSet
	if err := unix.SchedGetaffinity(0, &mask); err != nil {
		return Cores{}, fmt.Errorf("world: %w", err)
	}
	var all CPUSet
	for i := range 1024 {
		if mask.IsSet(i) {
			all = append(all, i)
		}
	}
	switch n := len(all); {
	case n < 2:
		return Cores{}, errors.New("world: expected two cores at least: one for what is measured")
	case n == 2:
		return Cores{Measured: all[:1], Behind: all[1:], Rest: all[1:], All: all}, nil
	default:
		return Cores{Measured: all[:1], Behind: all[1:2], Rest: all[2:], All: all}, nil
	}
}

// Pin moves a process, all its threads, to some cores. Threads that it starts later inherit it.
func Pin(pid int, to CPUSet) error {
	var mask unix.CPUSet
	for _, n := range to {
		mask.Set(n)
	}
	return eachThread(pid, func(id int) error { return unix.SchedSetaffinity(id, &mask) })
}

// makeWay has a process run after others that want its core.
func makeWay(pid int) error {
	return eachThread(pid, func(id int) error { return unix.Setpriority(unix.PRIO_PROCESS, id, 10) })
}

func eachThread(pid int, do func(id int) error) error {
	for range 2 { // a thread may have been started, by one not yet reached, since the list was read
		threads, err := os.ReadDir(fmt.Sprintf("/proc/%d/task", pid))
		if err != nil {
			return fmt.Errorf("world: %w", err)
		}
		for _, thread := range threads {
			id, err := strconv.Atoi(thread.Name())
			if err != nil {
				return fmt.Errorf("world: %w", err)
			}
			if err := do(id); err != nil && !errors.Is(err, unix.ESRCH) { // it has ended
				return fmt.Errorf("world: moving process %d: %w", pid, err)
			}
		}
	}
	return nil
}
