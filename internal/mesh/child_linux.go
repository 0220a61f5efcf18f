package mesh

import "syscall"

// groupLeader makes a process the leader of a group of its own, so that a terminal's Ctrl-C reaches
// it only through us, and has the kernel kill it when this process ends, however it ends.
func groupLeader() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}
