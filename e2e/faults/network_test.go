package faults

import (
	"errors"
	"io"
	"net"
	"slices"
	"sync"
	"time"
)

// manner is how the network treats the traffic between one process and a Redis server.
type manner struct {
	// nothing comes through until the rule is lifted; connections stay, and what was sent arrives then
	hold   bool
	refuse bool          // connections end, and new ones are refused
	delay  time.Duration // everything is late by so much, both ways
}

// pair is a process that connects, and the server it connects to; "" stands for any.
type pair struct{ from, to string }

// network carries all connections to Redis servers, each through a listener of the server's own. It
// knows which process is at the other end of each connection, so that any two can be cut off from
// each other.
type network struct {
	owner func(net.Conn) string // the name of the process at the other end
	wait  sync.WaitGroup

	mu        sync.Mutex
	changed   *sync.Cond
	rules     map[pair][]manner
	lines     map[*line]struct{}
	listeners []net.Listener
	closed    bool
}

// line is one connection through the network.
type line struct {
	pair
	client, server net.Conn
}

func newNetwork(owner func(net.Conn) string) *network {
	n := &network{owner: owner, rules: map[pair][]manner{}, lines: map[*line]struct{}{}}
	n.changed = sync.NewCond(&n.mu)
	return n
}

// listen returns an address at which the server at backend is reachable under its name.
func (n *network) listen(name, backend string) (string, error) {
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	n.mu.Lock()
	n.listeners = append(n.listeners, l)
	n.mu.Unlock()
	n.wait.Go(func() {
		for {
			client, err := l.Accept()
			if err != nil {
				return
			}
			n.wait.Go(func() { n.carry(client, name, backend) })
		}
	})
	return l.Addr().String(), nil
}

// carry serves one connection until either end closes it.
func (n *network) carry(client net.Conn, name, backend string) {
	defer client.Close()
	l := &line{pair: pair{n.owner(client), name}, client: client}
	if !n.pass(l) {
		return
	}
	server, err := net.DialTimeout("tcp4", backend, time.Second)
	if err != nil {
		return
	}
	defer server.Close()
	l.server = server
	if !n.enter(l) {
		return
	}
	defer n.leave(l)
	var both sync.WaitGroup
	both.Go(func() { n.copy(l, server, client) })
	both.Go(func() { n.copy(l, client, server) })
	both.Wait()
}

func (n *network) enter(l *line) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.closed || n.rule(l.pair).refuse {
		return false
	}
	n.lines[l] = struct{}{}
	return true
}

func (n *network) leave(l *line) {
	n.mu.Lock()
	defer n.mu.Unlock()
	delete(n.lines, l)
}

// copy hands on what one side sends to the other. When it cannot, the connection ends both ways.
func (n *network) copy(l *line, to, from net.Conn) {
	defer l.client.Close()
	defer l.server.Close()
	buffer := make([]byte, 64<<10)
	for {
		size, err := from.Read(buffer)
		if size > 0 {
			if !n.pass(l) {
				return
			}
			if _, err := to.Write(buffer[:size]); err != nil {
				return
			}
		}
		if err != nil {
			if errors.Is(err, io.EOF) {
				n.pass(l) // while it is held, the other side does not hear of the end either
			}
			return
		}
	}
}

// pass waits for as long as the pair is held or delayed, and reports whether it may talk at all.
func (n *network) pass(l *line) bool {
	n.mu.Lock()
	delay := n.rule(l.pair).delay
	n.mu.Unlock()
	if delay > 0 {
		time.Sleep(delay)
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	for n.rule(l.pair).hold && !n.rule(l.pair).refuse && !n.closed {
		n.changed.Wait()
	}
	return !n.closed && !n.rule(l.pair).refuse
}

// name finds the owners of connections that were made before their process was known. The caller
// holds the lock.
func (n *network) name() {
	for l := range n.lines {
		if l.from == "" {
			l.from = n.owner(l.client)
		}
	}
}

// rule returns what holds for a pair. The caller holds the lock.
func (n *network) rule(p pair) (m manner) {
	for _, key := range []pair{p, {p.from, ""}, {"", p.to}, {"", ""}} {
		for _, one := range n.rules[key] {
			m.hold, m.refuse, m.delay = m.hold || one.hold, m.refuse || one.refuse, max(m.delay, one.delay)
		}
	}
	return m
}

// impose makes a rule, and returns what lifts it. When impose has returned, the rule is in force.
func (n *network) impose(p pair, m manner) (lift func()) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.name()
	n.rules[p] = append(n.rules[p], m)
	for l := range n.lines {
		if n.rule(l.pair).refuse {
			l.client.Close()
			l.server.Close()
		}
	}
	n.changed.Broadcast()
	return sync.OnceFunc(func() {
		n.mu.Lock()
		defer n.mu.Unlock()
		n.rules[p] = slices.Delete(n.rules[p], slices.Index(n.rules[p], m), slices.Index(n.rules[p], m)+1)
		n.changed.Broadcast()
	})
}

// imposeAll makes a rule for several pairs, and returns what lifts it for all of them.
func (n *network) imposeAll(pairs []pair, m manner) (lift func()) {
	var lifts []func()
	for _, p := range pairs {
		lifts = append(lifts, n.impose(p, m))
	}
	return func() {
		for _, lift := range lifts {
			lift()
		}
	}
}

// close ends everything and returns when it has ended.
func (n *network) close() {
	n.mu.Lock()
	n.closed = true
	for _, l := range n.listeners {
		l.Close()
	}
	for l := range n.lines {
		l.client.Close()
		l.server.Close()
	}
	n.changed.Broadcast()
	n.mu.Unlock()
	n.wait.Wait()
}
