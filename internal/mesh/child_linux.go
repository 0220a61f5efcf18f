package mesh

import "syscall"

// leader makes a process the leader of a group of its own, so that a terminal's Ctrl-C reaches it
// only through us, and has the kernel kill it when we die, however we die.
func leader() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}
