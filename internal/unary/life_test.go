package unary_test

import (
	"errors"
	"net"
	"sync"
	"testing"
	"time"

	"golang.org/x/net/http2"

	"github.com/sallyport/sallyport/internal/eventually"
	"github.com/sallyport/sallyport/internal/unary"
)

// draining has the server drain, and returns what is closed when it has.
func (b *bench) draining() chan struct{} {
	done := make(chan struct{})
	go func() {
		defer close(done)
		b.server.Drain()
	}()
	return done
}

// warned reads until the server says that it goes away, and answers its ping only then.
func (p *peer) warned(t testing.TB) (ping [8]byte) {
	t.Helper()
	for {
		f, err := p.ReadFrame()
		p.must(t, err)
		if f, ok := f.(*http2.GoAwayFrame); ok {
			if f.LastStreamID != 1<<31-1 || f.ErrCode != http2.ErrCodeNo {
				t.Fatalf("got %v", f)
			}
		}
		if f, ok := f.(*http2.PingFrame); ok && !f.IsAck() {
			return f.Data
		}
	}
}

// TestDrainLosesNoCall: those under way are answered, and those that were sent before the peer heard
// of it; no later one is, and the connection ends once all have been answered.
func TestDrainLosesNoCall(t *testing.T) {
	b := start(t)
	p, idle := b.connect(t), b.connect(t)
	p.call(t, 1, "x")
	idle.asks(t, 1, "q")
	eventually.True(t, "a call waits", func() bool { return b.waits.Load() == 1 })
	done := b.draining()
	idle.must(t, idle.WritePing(true, idle.warned(t)))
	idle.goAway(t)
	ping := p.warned(t)
	p.call(t, 3, "q")
	p.call(t, 5, "x")
	if id, e := p.next(t); id != 3 || e != answered("q") {
		t.Errorf("a call that crossed the warning: got %d, %+v", id, e)
	}
	eventually.True(t, "two calls wait", func() bool { return b.waits.Load() == 2 })
	p.must(t, p.WritePing(true, ping))
	for {
		f, err := p.ReadFrame()
		p.must(t, err)
		if f, ok := f.(*http2.GoAwayFrame); ok {
			if f.LastStreamID != 5 {
				t.Errorf("got %v", f)
			}
			break
		}
	}
	p.call(t, 7, "q") // is not served
	close(b.release)
	for range 2 {
		if id, e := p.next(t); id != 1 && id != 5 || e != answered("x") {
			t.Errorf("got %d, %+v", id, e)
		}
	}
	<-done
	if code, said := p.goAway(t); said {
		t.Errorf("got %v at the end", code)
	}
	if _, err := net.Dial("tcp", b.address); err == nil {
		t.Error("a server that has drained takes connections")
	}
}

// TestAConnectionThatBeginsWhileTheServerDrainsIsServed: its peer may have sent calls already.
func TestAConnectionThatBeginsWhileTheServerDrainsIsServed(t *testing.T) {
	b := start(t)
	conn, err := net.Dial("tcp", b.address)
	if err != nil {
		t.Fatal(err)
	}
	eventually.True(t, "the connection is taken", func() bool { return b.server.Conns() == 1 })
	done := b.draining()
	eventually.True(t, "nobody listens", func() bool {
		again, err := net.Dial("tcp", b.address)
		if err == nil {
			_ = again.Close()
		}
		return err != nil
	})
	p := newPeer(t, conn)
	p.must(t, p.WriteSettings())
	p.call(t, 1, "w")
	ping := p.warned(t)
	if _, e := p.next(t); e != answered("w") {
		t.Errorf("got %+v", e)
	}
	p.must(t, p.WritePing(true, ping))
	p.goAway(t)
	p.must(t, p.Close())
	<-done
}

// TestWhatWasSaidOfTheLastCallStays: peers go by it.
func TestWhatWasSaidOfTheLastCallStays(t *testing.T) {
	b := start(t)
	p := b.connect(t)
	p.call(t, 1, "x")
	p.must(t, p.WriteGoAway(0, http2.ErrCodeNo, nil))
	p.call(t, 3, "q")                          // is not served
	p.must(t, p.WriteWindowUpdate(0, 1<<31-1)) // ends the connection
	for said := 0; said < 2; {
		f, err := p.ReadFrame()
		p.must(t, err)
		if f, ok := f.(*http2.GoAwayFrame); ok {
			if said++; f.LastStreamID != 1 {
				t.Errorf("got %v", f)
			}
		}
	}
}

// TestDrainWaitsForNoPeerForEver: one that lives and does not say that it has heard is told that no more
// calls are served.
func TestDrainWaitsForNoPeerForEver(t *testing.T) {
	b := start(t, func(o *unary.Options) { o.Patience = 50 * time.Millisecond })
	p := b.connect(t)
	p.asks(t, 1, "q")
	done := b.draining()
	p.warned(t)
	p.goAway(t)
	p.must(t, p.Close())
	<-done
}

// TestStopBreaksOffWhatDrainWaitsFor: a peer that answers no ping, one that has sent half a
// message, one that has said nothing, and a call.
func TestStopBreaksOffWhatDrainWaitsFor(t *testing.T) {
	b := start(t)
	p := b.connect(t)
	p.call(t, 1, "x")
	half := b.connect(t)
	half.open(t, 1, false)
	half.must(t, half.WriteData(1, false, prefixed("quickly")[:8]))
	silent, err := net.Dial("tcp", b.address)
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	eventually.True(t, "all of that is there",
		func() bool { return b.waits.Load() == 1 && b.server.Held() > 0 })
	done := b.draining()
	p.warned(t)
	var all sync.WaitGroup
	for range 3 {
		all.Go(b.server.Stop)
	}
	all.Wait()
	<-done
	p.goAway(t)
	if n := b.waits.Load(); n != 0 {
		t.Errorf("%d calls wait when nothing should run", n)
	}
}

// TestAPeerThatGoesIsAnsweredStill.
func TestAPeerThatGoesIsAnsweredStill(t *testing.T) {
	b := start(t)
	p := b.connect(t)
	p.call(t, 1, "x")
	p.must(t, p.WriteGoAway(0, http2.ErrCodeNo, nil))
	if code, said := p.goAway(t); !said || code != http2.ErrCodeNo {
		t.Errorf("got %v, %v", code, said)
	}
	close(b.release)
	if _, e := p.next(t); e != answered("x") {
		t.Errorf("got %+v", e)
	}
	p.goAway(t) // or else it fails
}

// listener has Accept fail, and then whatever is behind it.
type listener struct {
	net.Listener
	errors []error
}

func (l *listener) Accept() (net.Conn, error) {
	if len(l.errors) == 0 {
		return l.Listener.Accept()
	}
	err := l.errors[0]
	l.errors = l.errors[1:]
	return nil, err
}

type passing struct{ error }

func (passing) Temporary() bool { return true }

// TestErrorsOfAListenerThatPassAreWaitedOut, and all others end Serve.
func TestErrorsOfAListenerThatPassAreWaitedOut(t *testing.T) {
	b := start(t)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	cause := errors.New("broken")
	few := passing{errors.New("too many open files")}
	ended := make(chan error, 1)
	go func() { ended <- b.server.Serve(&listener{l, []error{few, few}}) }()
	second := &bench{address: l.Addr().String()}
	p := second.connect(t)
	p.asks(t, 1, "q")
	if err := b.server.Serve(&listener{l, []error{few, cause}}); !errors.Is(err, cause) {
		t.Errorf("got %v", err)
	}
	<-ended
	b.server.Stop()
	if err := b.server.Serve(l); !errors.Is(err, unary.ErrStopped) {
		t.Errorf("after Stop: got %v", err)
	}
}

// TestAConnectionIsAnsweredWhileAnotherIsBlocked: a peer that takes nothing holds up itself alone.
func TestAConnectionIsAnsweredWhileAnotherIsBlocked(t *testing.T) {
	b := start(t)
	p := b.connect(t)
	p.must(t, p.SetDeadline(time.Now().Add(200*time.Millisecond)))
	for p.WritePing(false, [8]byte{}) == nil {
	}
	other := b.connect(t)
	other.asks(t, 1, "w")
}
