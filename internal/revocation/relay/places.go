package relay

import (
	"net"
	"net/netip"
	"slices"
	"sync"
)

// leastStrangers is how many strangers a relay has room for at the least: a gate opens two
// connections at a time, and several begin at once.
const leastStrangers = 16

// places are who may be connected: gates, and beside them so many strangers, of whom it is not yet
// known whether they are gates. A stranger never holds a gate's place.
type places struct {
	mostGates, mostStrangers int

	mu        sync.Mutex // guards what follows
	gates     int
	strangers []*place             // in the order in which they came
	from      map[netip.Prefix]int // how many strangers each address has
}

// place is one connection's.
type place struct {
	conn net.Conn
	from netip.Prefix
	gate bool
}

func newPlaces(maxGates int) *places {
	return &places{
		mostGates: maxGates, mostStrangers: max(maxGates/4, leastStrangers),
		from: map[netip.Prefix]int{},
	}
}

// all is how many connections there are at the most, and one that others make room for.
func (p *places) all() int { return p.mostGates + p.mostStrangers + 1 }

// enter takes a connection in as a stranger. If there are too many, it returns another one that
// has lost its place, and that the caller has to close: the oldest stranger of the address that has
// the most. Whoever has many addresses can still only make gates try again, and has to be faster
// than a gate says its password.
func (p *places) enter(conn net.Conn) (entered, lost *place) {
	entered = &place{conn: conn, from: origin(conn.RemoteAddr())}
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
func (p *places) busiest() *place {
	most := 0
	for _, n := range p.from {
		most = max(most, n)
	}
	k := slices.IndexFunc(p.strangers, func(s *place) bool { return p.from[s.from] == most })
	return p.strangers[k] // the addresses are those of strangers
}

// forget takes a stranger out, if it is one still, and reports whether it was.
func (p *places) forget(s *place) bool {
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

// admit makes a stranger a gate, once and for all.
func (p *places) admit(s *place) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case s.gate:
		return nil
	case p.gates >= p.mostGates:
		return errNoPlace
	case !p.forget(s):
		return errRefused // another has its place already, and its connection is closed
	}
	s.gate = true
	p.gates++
	return nil
}

// leave frees the place of a connection that has ended.
func (p *places) leave(s *place) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if s.gate {
		p.gates--
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
