//go:build unix && !linux

package mesh

import "syscall"

// leader makes a process the leader of a group of its own, so that a terminal's Ctrl-C reaches it
// only through us. Only Linux can also tie its life to ours.
func leader() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true}
}
