//go:build model

package model

import (
	"fmt"
	"time"
)

// Limits bound what is explored. Everything within them is.
type Limits struct {
	Nodes       int // Redis servers: one primary, the others its replicas; 1 to 3
	Issuers     int // 1 or 2
	Gates       int // 0 or 1: gates touch nothing that another process reads, so one stands for all
	Requests    int // requests to end a session, 1 or 2
	Sessions    int // sessions they may be about, 1 or 2
	Faults      int // faults at any moment, of any kind
	MinReplicas int // as revocation.min_replicas

	// Split lets everything happen between a command's step in Redis and its answer, and between
	// two reads; else only faults come between.
	Backwards bool // heartbeats come in the other order: issuer 2, issuer 1, the gate

	// Together keeps the third of three nodes with the replica that takes the primary's place: it
	// never stays with the old one.
	Together bool

	Split bool

	// Ages lets a token's life pass once: what lives no longer has expired then, and is trimmed.
	Ages bool

	Settle       int // heartbeats
	MaxStaleness int // heartbeats
	MaxStates    int // an exploration that meets more is an error; 0 means no bound
	LiveEvery    int // every n-th state is tried for L1; 1 means all

	Progress func(depth, states, last int) // told after each level, if it is there
}

// Small are limits whose every schedule is explored within seconds.
func Small(nodes, issuers, faults int) Limits {
	return Limits{
		Nodes:        nodes,
		Issuers:      issuers,
		Gates:        1,
		Requests:     1,
		Sessions:     1,
		Faults:       faults,
		MinReplicas:  nodes / 2,
		Settle:       2,
		MaxStaleness: 3,
		LiveEvery:    64,
	}
}

func (l Limits) String() string {
	return fmt.Sprintf(
		"%d nodes, min_replicas %d, %d issuers, %d gates, %d requests on %d sessions, %d faults, "+
			"settle %d, max_staleness %d",
		l.Nodes, l.MinReplicas, l.Issuers, l.Gates, l.Requests, l.Sessions, l.Faults, l.Settle,
		l.MaxStaleness)
}

func (l Limits) validate() error {
	in := func(n, least, most int) bool { return n >= least && n <= most }
	if !in(l.Nodes, 1, maxNodes) || !in(l.MinReplicas, 0, l.Nodes-1) ||
		!in(l.Issuers, 1, maxIssuers) || !in(l.Gates, 0, 1) ||
		!in(l.Requests, 0, maxRequests) || !in(l.Sessions, 1, maxSessions) ||
		!in(l.Faults, 0, 8) || l.Settle < 2 || !in(l.MaxStaleness, l.Settle+1, 60) ||
		l.LiveEvery < 1 {
		return fmt.Errorf("model: limits out of range: %+v", l)
	}
	return nil
}

const (
	maxNodes    = 3
	maxIssuers  = 2
	maxProcs    = 1 + maxIssuers
	maxRequests = 2
	maxSessions = 2
)

// tick is one heartbeat.
const tick = time.Second

func (l Limits) most() time.Duration { return time.Duration(l.MaxStaleness+1) * tick }
