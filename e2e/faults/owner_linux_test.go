package faults

import (
	"encoding/binary"
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"
	"syscall"
	"unsafe"
)

// canPart is whether the network knows which process a connection belongs to.
const canPart = true

// ownerOf returns the process, of those in pids, that has the other end of a connection, "" when
// none has.
func ownerOf(c net.Conn, pids map[string]int) string {
	inode, err := peerInode(c)
	if err != nil {
		return "" // it has gone
	}
	socket := fmt.Sprintf("socket:[%d]", inode)
	for name, pid := range pids {
		dir := "/proc/" + strconv.Itoa(pid) + "/fd"
		files, err := os.ReadDir(dir)
		if err != nil {
			continue // it has ended
		}
		for _, f := range files {
			if link, err := os.Readlink(dir + "/" + f.Name()); err == nil && link == socket {
				return name
			}
		}
	}
	return ""
}

// socketRequest asks the kernel for one TCP socket by its two addresses: sock_diag(7), nlmsghdr and
// inet_diag_req_v2.
type socketRequest struct {
	Header   syscall.NlMsghdr
	Family   uint8
	Protocol uint8
	Wanted   uint8 // extensions
	Pad      uint8
	States   uint32
	Ports    [4]byte // source, destination, in network order
	Source   [16]byte
	Target   [16]byte
	Device   uint32
	Cookie   [2]uint32
}

const (
	netlinkSockDiag  = 4
	sockDiagByFamily = 20
	answerInode      = 16 + 68 // in inet_diag_msg, after the header
)

// peerInode returns the inode of the socket at the other end of a connection on this machine.
// /proc/net/tcp has it too, but takes long to read on a machine with many connections.
func peerInode(c net.Conn) (uint32, error) {
	peer, here := c.RemoteAddr().(*net.TCPAddr), c.LocalAddr().(*net.TCPAddr)
	r := socketRequest{
		Family: syscall.AF_INET, Protocol: syscall.IPPROTO_TCP, States: ^uint32(0),
		Cookie: [2]uint32{^uint32(0), ^uint32(0)},
	}
	r.Header = syscall.NlMsghdr{
		Len: uint32(unsafe.Sizeof(r)), Type: sockDiagByFamily, Flags: syscall.NLM_F_REQUEST,
	}
	binary.BigEndian.PutUint16(r.Ports[0:], uint16(peer.Port))
	binary.BigEndian.PutUint16(r.Ports[2:], uint16(here.Port))
	copy(r.Source[:], peer.IP.To4())
	copy(r.Target[:], here.IP.To4())

	fd, err := syscall.Socket(syscall.AF_NETLINK, syscall.SOCK_DGRAM|syscall.SOCK_CLOEXEC,
		netlinkSockDiag)
	if err != nil {
		return 0, err
	}
	defer syscall.Close(fd)
	message := unsafe.Slice((*byte)(unsafe.Pointer(&r)), unsafe.Sizeof(r))
	if err := syscall.Sendto(fd, message, 0,
		&syscall.SockaddrNetlink{Family: syscall.AF_NETLINK}); err != nil {
		return 0, err
	}
	answer := make([]byte, 1024)
	n, _, err := syscall.Recvfrom(fd, answer, 0)
	if err != nil {
		return 0, err
	}
	if n < answerInode+4 || binary.NativeEndian.Uint16(answer[4:]) != sockDiagByFamily {
		return 0, fmt.Errorf("faults: no socket from %v to %v", peer, here)
	}
	return binary.NativeEndian.Uint32(answer[answerInode:]), nil
}

// isStopped reports whether a process no longer runs after SIGSTOP.
func isStopped(pid int) bool {
	content, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return false
	}
	_, after, ok := strings.Cut(string(content), ") ")
	return ok && strings.HasPrefix(after, "T")
}
