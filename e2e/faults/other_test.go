//go:build unix && !linux

package faults

import (
	"errors"
	"net"
)

// canPart is whether the network knows which process a connection belongs to. It does not here:
// faults that part two are skipped.
const canPart = false

func ownerOf(net.Conn, map[string]int) string { return "" }

// isStopped takes a process to be stopped as soon as it has been told: only Linux says more.
func isStopped(int) bool { return true }

// canFill reports whether there are no small disks here: their fault is skipped.
func canFill() bool { return false }

var errNoDisk = errors.New("faults: small disks need Linux")

func mountSmall(string) (func() error, error) { return nil, errNoDisk }
func fill(string) (func() error, error)       { return nil, errNoDisk }
