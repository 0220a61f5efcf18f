package mesh

import (
	"errors"
	"net"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/sallyport/sallyport/internal/eventually"
)

func TestATakenPortIsNamedWithWhoWantedIt(t *testing.T) {
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	taken := l.Addr().(*net.TCPAddr).Port
	p := &ports{base: taken - issuerOffset}
	_, err = p.take(issuerOffset, "issuer-1")
	if !errors.Is(err, ErrPort) || !strings.Contains(err.Error(), strconv.Itoa(taken)) ||
		!strings.Contains(err.Error(), "issuer-1") {
		t.Errorf("got: %v", err)
	}
	if _, err = p.listen(issuerOffset, "issuer-1"); !errors.Is(err, ErrPort) {
		t.Errorf("got: %v", err)
	}
}

func TestAPortWhoseLastOwnerHasJustLeftIsNotTaken(t *testing.T) {
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server, client := connect(t, l)
	// the server's side closes first and is left in TIME_WAIT
	for _, c := range []net.Conn{server, client, nil} {
		if c != nil {
			c.Close()
		}
	}
	port := l.Addr().(*net.TCPAddr).Port
	l.Close()
	p := &ports{base: port}
	if _, err := p.take(0, "the gateway"); err != nil {
		t.Error(err)
	}
	if err := p.release(); err != nil {
		t.Error(err)
	}
}

func connect(t *testing.T, l net.Listener) (server, client net.Conn) {
	t.Helper()
	client, err := net.Dial("tcp4", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	server, err = l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	return server, client
}

// A free port is chosen long before the child that is to have it listens on it.
func TestAFreePortStaysOursUntilAChildListensOnIt(t *testing.T) {
	p := &ports{}
	at, err := p.take(0, "gate-1")
	if err != nil {
		t.Fatal(err)
	}
	defer p.release()
	for range 2000 { // nobody who asks for any free port gets it
		l, err := net.Listen("tcp4", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		if l.Addr().String() == at {
			t.Error("the port was given to somebody else")
		}
		l.Close()
	}
	s := newSupervisor()
	defer s.stop(time.Second)
	c := startChild(t, s, "listen "+at)
	eventually.True(t, "the child listens", func() bool {
		conn, err := net.Dial("tcp4", at)
		if err == nil {
			conn.Close()
		}
		return err == nil
	})
	if err := c.Kill(); err != nil {
		t.Fatal(err)
	}
	if err := c.start(); err != nil {
		t.Fatal(err)
	}
	eventually.True(t, "it listens again on the same port", func() bool {
		conn, err := net.Dial("tcp4", at)
		if err == nil {
			conn.Close()
		}
		return err == nil
	})
}

func TestOptionsThatCannotWorkAreRefused(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	good := Options{Dir: t.TempDir(), Binaries: t.TempDir(), Envoy: self}
	for _, name := range []string{"issuer", "authz"} {
		if err := os.WriteFile(good.Binaries+"/"+name, nil, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := good.withDefaults(); err != nil {
		t.Fatal(err)
	}
	for name, row := range map[string]struct {
		change func(*Options)
		want   string
	}{
		"no folder":      {func(o *Options) { o.Dir = "" }, "a folder (Dir)"},
		"port too high":  {func(o *Options) { o.Port = 65500 }, "got 65500"},
		"negative port":  {func(o *Options) { o.Port = -1 }, "got -1"},
		"too many gates": {func(o *Options) { o.Gates = 41 }, "at most 40 gates"},
		"two kinds of Redis": {func(o *Options) {
			o.RedisAddress, o.RedisServer = "127.0.0.1:1", self
		}, "got both"},
		"no issuer":           {func(o *Options) { o.Binaries = t.TempDir() }, "issuer: no such file"},
		"envoy not a program": {func(o *Options) { o.Envoy = t.TempDir() }, "is not a program"},
	} {
		t.Run(name, func(t *testing.T) {
			o := good
			row.change(&o)
			if _, err := o.withDefaults(); err == nil || !strings.Contains(err.Error(), row.want) {
				t.Errorf("expected %q, got: %v", row.want, err)
			}
		})
	}
}
