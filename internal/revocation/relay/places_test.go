package relay_test

import (
	"bufio"
	"context"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/sallyport/sallyport/internal/config"
	"github.com/sallyport/sallyport/internal/eventually"
	"github.com/sallyport/sallyport/internal/revocation/relay"
)

// serveFew serves four gates, and as few strangers as a relay ever does.
func serveFew(t testing.TB, password string) (addr string, registry *prometheus.Registry) {
	t.Helper()
	c := relay.DefaultConfig().Gates
	c.MaxConnections = 4
	if password != "" {
		c.Password = config.NewSecret(password)
	}
	registry = prometheus.NewRegistry()
	s, err := relay.New(newScripted(), c, relay.Options{
		Names: names(t), Revocation: quick(), Registry: registry,
	})
	must(t, err)
	l, err := s.Listen("127.0.0.1:0")
	must(t, err)
	started(t, func(ctx context.Context) error { return s.Serve(ctx, l) })
	return l.Addr().String(), registry
}

const fewestStrangers = 16

// say sends a command and returns the first line of what is answered; "" at the end.
func say(t testing.TB, c net.Conn, words ...string) string {
	t.Helper()
	if _, err := io.WriteString(c, command(words...)); err != nil {
		return ""
	}
	line, _ := bufio.NewReader(c).ReadString('\n')
	return line
}

// cutOff returns whether the other end has ended a connection that nothing is read from.
func cutOff(c net.Conn) bool {
	_ = c.SetReadDeadline(time.Now().Add(time.Millisecond))
	_, err := c.Read(make([]byte, 1))
	late, ok := err.(net.Error)
	return err != nil && !(ok && late.Timeout())
}

// TestStrangersKeepNoGateOut: whoever has not said the password holds none of the places of those
// who know it. Strangers of one address lose theirs before anybody of another address does, however
// many they are and however fast they come back.
func TestStrangersKeepNoGateOut(t *testing.T) {
	t.Parallel()
	addr, registry := serveFew(t, "right")
	ctx, cancel := context.WithCancel(t.Context())
	for range 200 {
		started(t, func(context.Context) error {
			from := &net.TCPAddr{IP: net.IPv4(127, 0, 0, 2)}
			for ctx.Err() == nil {
				d := net.Dialer{LocalAddr: from}
				c, err := d.DialContext(ctx, "tcp", addr)
				if err != nil {
					continue
				}
				end := context.AfterFunc(ctx, func() { _ = c.Close() })
				_, _ = io.Copy(io.Discard, c)
				end()
				_ = c.Close()
			}
			return nil
		})
	}
	t.Cleanup(cancel)
	eventually.True(t, "strangers are cut off for others", func() bool {
		return counted(t, registry, "strangers") > 500
	})
	// One after the other, and all of them stay.
	var gates []net.Conn
	for range 4 {
		gate := dial(t, addr)
		if line := say(t, gate, "AUTH", "gate", "right"); line != "+OK\r\n" {
			t.Fatalf("a gate that knows the password: got %q", line)
		}
		gates = append(gates, gate)
	}
	before := counted(t, registry, "strangers")
	eventually.True(t, "more strangers come", func() bool {
		return counted(t, registry, "strangers") > before+500
	})
	for _, gate := range gates {
		if line := say(t, gate, "PING"); line != "+PONG\r\n" {
			t.Errorf("a gate among strangers: got %q", line)
		}
	}
}

// TestTheOldestStrangerMakesRoom for one who may be a gate, among those of one address.
func TestTheOldestStrangerMakesRoom(t *testing.T) {
	t.Parallel()
	for name, password := range map[string]string{
		"with a password": "right", "without": "", // where certificates say who may ask, for one
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			addr, registry := serveFew(t, password)
			var strangers []net.Conn
			for range fewestStrangers {
				strangers = append(strangers, dial(t, addr))
			}
			eventually.True(t, "all are connected", func() bool {
				return connections(t, registry) == fewestStrangers
			})
			gate := dial(t, addr)
			greeting := []string{"AUTH", "gate", "right"}
			if password == "" {
				greeting = []string{"PING"}
			}
			if line := say(t, gate, greeting...); !strings.HasPrefix(line, "+") {
				t.Fatalf("a gate: got %q", line)
			}
			if n := counted(t, registry, "strangers"); n != 1 {
				t.Errorf("%v strangers have been cut off, want 1", n)
			}
			if _, err := strangers[0].Read(make([]byte, 1)); err == nil {
				t.Error("the oldest has been answered")
			}
			if cutOff(strangers[fewestStrangers-1]) {
				t.Error("the newest has been cut off")
			}
		})
	}
}

// TestGatesBeyondMaxConnectionsAreTold, as Redis tells it; those that are here stay.
func TestGatesBeyondMaxConnectionsAreTold(t *testing.T) {
	t.Parallel()
	addr, registry := serveFew(t, "right")
	var gates []net.Conn
	for range 4 {
		gate := dial(t, addr)
		if line := say(t, gate, "AUTH", "gate", "right"); line != "+OK\r\n" {
			t.Fatalf("got %q", line)
		}
		gates = append(gates, gate)
	}
	answer, ended := said(t, addr, command("HELLO", "2", "AUTH", "gate", "right"))
	if !ended || answer != "-ERR max number of clients reached\r\n" {
		t.Errorf("a fifth: got %q, ended %v", answer, ended)
	}
	if n := counted(t, registry, "gates"); n != 1 {
		t.Errorf("%v are counted, want 1", n)
	}
	for _, gate := range gates {
		// Twice: a gate holds one place, however often it says the password.
		if line := say(t, gate, "AUTH", "gate", "right"); line != "+OK\r\n" {
			t.Errorf("one that is here: got %q", line)
		}
	}
	must(t, gates[0].Close())
	eventually.True(t, "its place is free", func() bool {
		return say(t, dial(t, addr), "AUTH", "gate", "right") == "+OK\r\n"
	})
}
