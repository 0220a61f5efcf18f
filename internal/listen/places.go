package listen

import (
	"errors"
	"net"
	"net/netip"
	"slices"
	"sync"
)

// leastStrangers is for how many strangers there is room at the least: a client opens two
// connections at a time, and several begin at once.
const leastStrangers = 16

// Errors of Places.Admit.
var (
	ErrNoPlace = errors.New("listen: there is no place for another connection")
	ErrLost    = errors.New("listen: the connection has lost its place to another stranger")
)

// Places are who may be connected: those who are known, and beside them so many strangers, of whom
// nothing is known yet. A stranger never holds the place of somebody who is known. Its methods may be
// called from many goroutines.
type Places struct {
	mostKnown, mostStrangers int

	mu        sync.Mutex // guards what follows
	known     int
	strangers []*Place             // in the order in which they came
	from      map[netip.Prefix]int // how many strangers each address has
}

// Place is one connection's.
type Place struct {
	Conn  net.Conn
	from  netip.Prefix
	known bool
}

// NewPlaces returns places for so many who are known, and for a quarter as many strangers.
func NewPlaces(most int) *Places {
	return &Places{
		mostKnown: most, mostStrangers: max(most/4, leastStrangers),
		from: map[netip.Prefix]int{},
	}
}

// All is how many connections there are at the most, and one that others make room for.
func (p *Places) All() int { return p.mostKnown + p.mostStrangers + 1 }

// Enter takes a connection in as a stranger's. If there are too many, it returns another one that
// has lost its place, and that the caller has to close: the oldest stranger of the address that has
// the most. Whoever has many addresses can still only make honest clients try again, and has to be
// faster than one says who it is.
func (p *Places) Enter(conn net.Conn) (entered, lost *Place) {
	entered = &Place{Conn: conn, from: origin(conn.RemoteAddr())}
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.strangers) >= p.mostStrangers {
		lost = p.busiest()
		p.forget(lost)
	}
	p.strangers = append(p.strangers, entered)
	p.from[entered.from]++
	return entered, lost
}

// busiest returns the oldest stranger of an address that none has more strangers than.
func (p *Places) busiest() *Place {
	most := 0
	for _, n := range p.from {
		most = max(most, n)
	}
	k := slices.IndexFunc(p.strangers, func(s *Place) bool { return p.from[s.from] == most })
	return p.strangers[k] // the addresses are those of strangers
}

// forget takes a stranger out, if it is one still, and reports whether it was.
func (p *Places) forget(s *Place) bool {
	k := slices.Index(p.strangers, s)
	if k < 0 {
		return false
	}
	p.strangers = slices.Delete(p.strangers, k, k+1)
	if p.from[s.from]--; p.from[s.from] == 0 {
		delete(p.from, s.from)
	}
	return true
}

// Admit makes a stranger known, once and for all. Its error is ErrNoPlace or ErrLost.
func (p *Places) Admit(s *Place) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case s.known:
		return nil
	case p.known >= p.mostKnown:
		return ErrNoPlace
	case !p.forget(s):
		return ErrLost // and its connection is closed
	}
	s.known = true
	p.known++
	return nil
}

// Leave frees the place of a connection that has ended.
func (p *Places) Leave(s *Place) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if s.known {
		p.known--
		return
	}
	p.forget(s)
}

// origin returns the address that a stranger is counted under: of IPv6 the network, of which
// anybody has 2^64 addresses; one and the same for all that come over a Unix socket.
func origin(a net.Addr) netip.Prefix {
	tcp, ok := a.(*net.TCPAddr)
	if !ok {
		return netip.Prefix{}
	}
	address := tcp.AddrPort().Addr().Unmap()
	bits := 64
	if address.Is4() {
		bits = 32
	}
	prefix, _ := address.WithZone("").Prefix(bits) // both numbers are fit
	return prefix
}
