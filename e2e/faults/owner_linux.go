package faults

import (
	"encoding/binary"
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"
)

// canPart says that the network knows which process a connection belongs to.
const canPart = true

// ownerOf gives the process, of those in pids, that has the local end of a connection from remote, "" when none has.
func ownerOf(remote net.Addr, pids map[string]int) string {
	inode := inodeOf(remote)
	if inode == "" {
		return ""
	}
	for name, pid := range pids {
		dir := "/proc/" + strconv.Itoa(pid) + "/fd"
		files, err := os.ReadDir(dir)
		if err != nil {
			continue // it has ended
		}
		for _, f := range files {
			if link, err := os.Readlink(dir + "/" + f.Name()); err == nil && link == "socket:["+inode+"]" {
				return name
			}
		}
	}
	return ""
}

// inodeOf finds the socket whose own address is remote, in proc(5)'s /proc/net/tcp.
func inodeOf(remote net.Addr) string {
	tcp, ok := remote.(*net.TCPAddr)
	if !ok || tcp.IP.To4() == nil {
		return ""
	}
	local := fmt.Sprintf("%08X:%04X", binary.LittleEndian.Uint32(tcp.IP.To4()), tcp.Port)
	for _, table := range []string{"/proc/net/tcp", "/proc/net/tcp6"} {
		content, err := os.ReadFile(table)
		if err != nil {
			continue
		}
		for l := range strings.Lines(string(content)) {
			if f := strings.Fields(l); len(f) > 9 && strings.HasSuffix(f[1], local) {
				return f[9]
			}
		}
	}
	return ""
}

// isStopped says that a process no longer runs after SIGSTOP.
func isStopped(pid int) bool {
	content, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return false
	}
	_, after, ok := strings.Cut(string(content), ") ")
	return ok && strings.HasPrefix(after, "T")
}
