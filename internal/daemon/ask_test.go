package daemon_test

import (
	"errors"
	"net"
	"strconv"
	"strings"
	"testing"

	"github.com/sallyport/sallyport/internal/daemon"
	"github.com/sallyport/sallyport/internal/eventually"
)

func TestReachableIsLoopbackForAllAddresses(t *testing.T) {
	for listen, want := range map[string]string{
		":9102": "127.0.0.1:9102", "0.0.0.0:9102": "127.0.0.1:9102", "[::]:9102": "127.0.0.1:9102",
		"127.0.0.1:1": "127.0.0.1:1", "10.0.0.1:2": "10.0.0.1:2", "gate:3": "gate:3",
		"[2001:db8::1]:4": "[2001:db8::1]:4",
	} {
		if got := daemon.Reachable(listen); got != want {
			t.Errorf("%s: expected %s, got %s", listen, want, got)
		}
	}
}

// TestAskingHearsWhatADaemonWaitsFor, and that it is ready; and an error when there is nobody.
func TestAskingHearsWhatADaemonWaitsFor(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := ":" + strconv.Itoa(l.Addr().(*net.TCPAddr).Port)
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if err := daemon.AskReady(t.Context(), address); err == nil {
		t.Error("nobody answers, and all is well")
	}
	if err := daemon.AskReady(t.Context(), "nonsense"); err == nil {
		t.Error("an address without a port is accepted")
	}

	ready := make(chan error, 1)
	ready <- errors.New("no keys yet")
	p := run(t, daemon.Options{}, daemon.Part{Name: "keys", Ready: func() error {
		why := <-ready
		ready <- why
		return why
	}})
	eventually.True(t, "the daemon says what it waits for", func() bool {
		err := daemon.AskReady(t.Context(), strings.TrimPrefix(p.url, "http://"))
		return err != nil && strings.Contains(err.Error(), "/readyz, got 503: {") &&
			strings.Contains(err.Error(), "no keys yet") && !strings.Contains(err.Error(), "starting")
	})
	<-ready
	ready <- nil
	if err := daemon.AskReady(t.Context(), strings.TrimPrefix(p.url, "http://")); err != nil {
		t.Error(err)
	}
	p.stop()
	if err := p.end(); err != nil {
		t.Error(err)
	}
}
