package mesh

import (
	"errors"
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"
)

// loopback is where everything listens.
const loopback = "127.0.0.1"

// ports hands out the ports of a mesh: counted from the gateway's when that is given, free ones
// otherwise.
type ports struct {
	base int
	held []*os.File // sockets that keep free ports ours until a child listens on them
}

// Each part's distance from the gateway's port. An admin port is adminOffset above the port it
// belongs to.
const (
	issuerOffset   = 1
	upstreamOffset = 2
	gateOffset     = 3
	redisOffset    = 79
	spareIssuers   = 50 // issuer-2 and later
	adminOffset    = 100

	maxGates   = 40
	maxIssuers = 20
	maxPort    = 65535 - 2*adminOffset
)

// take returns a free address for whoever wants one, and keeps it free as far as the system allows.
func (p *ports) take(offset int, whose string) (string, error) {
	if p.base == 0 {
		file, port, err := holdPort(0)
		if err != nil {
			return "", fmt.Errorf("mesh: a free port for %s: %w", whose, err)
		}
		p.hold(file)
		return address(port), nil
	}
	l, err := p.listen(offset, whose)
	if err != nil {
		return "", err
	}
	port := l.Addr().(*net.TCPAddr).Port
	if err := l.Close(); err != nil {
		return "", fmt.Errorf("mesh: port %d for %s: %w", port, whose, err)
	}
	file, _, err := holdPort(port)
	if err != nil {
		return "", fmt.Errorf("mesh: port %d for %s: %w", port, whose, err)
	}
	p.hold(file)
	return address(port), nil
}

// listen opens a listener in this process.
func (p *ports) listen(offset int, whose string) (net.Listener, error) {
	port := 0
	if p.base != 0 {
		port = p.base + offset
	}
	l, err := net.Listen("tcp4", address(port))
	if err == nil {
		return l, nil
	}
	if isTaken(err) {
		return nil, fmt.Errorf("mesh: port %d, for %s, is %w", port, whose, ErrPort)
	}
	return nil, fmt.Errorf("mesh: port %d for %s: %w", port, whose, err)
}

func (p *ports) hold(file *os.File) {
	if file != nil {
		p.held = append(p.held, file)
	}
}

// release returns all ports back.
func (p *ports) release() error {
	var errs []error
	for _, file := range p.held {
		errs = append(errs, file.Close())
	}
	p.held = nil
	return errors.Join(errs...)
}

// listensOnSix reports whether this machine has IPv6 and nobody listens on the port there.
func listensOnSix(port string) bool {
	l, err := net.Listen("tcp6", net.JoinHostPort("::1", port))
	return err == nil && l.Close() == nil
}

func address(port int) string { return net.JoinHostPort(loopback, strconv.Itoa(port)) }

func portOf(address string) string { return address[strings.LastIndexByte(address, ':')+1:] }
