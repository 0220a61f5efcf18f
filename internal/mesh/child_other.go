//go:build unix && !linux

package mesh

import "syscall"

// groupLeader makes a process the leader of a group of its own, so that a terminal's Ctrl-C reaches
// it only through us. Only Linux can also kill it when this process ends.
func groupLeader() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true}
}
