package unary_test

import (
	"bytes"
	"io"
	"net"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"google.golang.org/grpc/codes"

	"github.com/sallyport/sallyport/internal/eventually"
	"github.com/sallyport/sallyport/internal/unary"
)

// TestCallsBeyondTheLimitAreRefused, and taken again once others have ended.
func TestCallsBeyondTheLimitAreRefused(t *testing.T) {
	b := start(t, func(o *unary.Options) { o.MaxStreams = 3 })
	p := b.connect(t)
	for id := uint32(1); id <= 5; id += 2 {
		p.call(t, id, "x")
	}
	p.call(t, 7, "q")
	if id, e := p.next(t); id != 7 || e.reset != http2.ErrCodeRefusedStream {
		t.Errorf("got %d, %+v", id, e)
	}
	close(b.release)
	for range 3 {
		if _, e := p.next(t); e != answered("x") {
			t.Errorf("got %+v", e)
		}
	}
	p.asks(t, 9, "q")
}

// TestCallsThatAreDroppedCostLittle: none is worked on that was given up before.
func TestCallsThatAreDroppedCostLittle(t *testing.T) {
	b := start(t)
	p := b.connect(t)
	var together bytes.Buffer
	writes := http2.NewFramer(&together, nil)
	p.encoder.SetMaxDynamicTableSize(0)
	p.open(t, 1, true) // so that its fields are in p.block
	if _, e := p.next(t); e.code == "" {
		t.Errorf("got %+v", e)
	}
	for id := uint32(3); id <= 101; id += 2 {
		p.must(t, writes.WriteHeaders(http2.HeadersFrameParam{
			StreamID: id, BlockFragment: p.block.Bytes(), EndHeaders: true,
		}))
		p.must(t, writes.WriteData(id, true, prefixed("x")))
		p.must(t, writes.WriteRSTStream(id, http2.ErrCodeCancel))
	}
	_, err := p.Conn.Write(together.Bytes())
	p.must(t, err)
	p.call(t, 103, "q")
	if id, e := p.next(t); id != 103 || e != answered("q") {
		t.Errorf("got %d, %+v", id, e)
	}
	eventually.True(t, "nothing is held any more", func() bool { return b.server.Held() == 0 })
	if n := b.worked.Load(); n > 10 { // none, unless the write came in parts
		t.Errorf("%d of 50 calls were worked on that had been given up", n)
	}
}

// TestHalfMessagesAreBounded, of all connections together, and whoever gives them up gives their
// room back.
func TestHalfMessagesAreBounded(t *testing.T) {
	const part = 16 << 10
	b := start(t, func(o *unary.Options) { o.MaxHeld = 10 * part })
	var peers []*peer
	for range 5 {
		p := b.connect(t)
		peers = append(peers, p)
		for id := uint32(1); id <= 3; id += 2 {
			p.open(t, id, false)
			p.must(t, p.WriteData(id, false, append([]byte{0, 0, 1, 0, 0}, strings.Repeat("q", part-5)...)))
		}
	}
	eventually.True(t, "all is held that may be", func() bool { return b.server.Held() == 10*part })
	late := b.connect(t)
	late.open(t, 1, false)
	late.must(t, late.WriteData(1, false, prefixed("quickly")[:10]))
	want := refused(codes.ResourceExhausted, "too many bytes of messages are waiting")
	if _, e := late.next(t); e != want {
		t.Errorf("got %+v", e)
	}
	late.call(t, 3, "q") // holds nothing
	for {                // the reset behind the refusal comes first
		id, e := late.next(t)
		if id == 3 {
			if e != answered("q") {
				t.Errorf("got %+v", e)
			}
			break
		}
	}
	peers[0].must(t, peers[0].WriteRSTStream(1, http2.ErrCodeCancel))
	eventually.True(t, "one is given up", func() bool { return b.server.Held() == 9*part })
	peers[1].must(t, peers[1].Close())
	eventually.True(t, "a connection is gone", func() bool { return b.server.Held() == 7*part })
}

// TestAPeerThatTakesNoAnswersIsLeft, and holds no more than there is to be.
func TestAPeerThatTakesNoAnswersIsLeft(t *testing.T) {
	floods := map[string]func(*peer, uint32) error{
		"calls": func(p *peer, id uint32) error {
			if err := p.WriteHeaders(http2.HeadersFrameParam{
				StreamID: id, BlockFragment: p.block.Bytes(), EndHeaders: true,
			}); err != nil {
				return err
			}
			return p.WriteData(id, true, prefixed("q"))
		},
		"calls of nothing": func(p *peer, id uint32) error {
			return p.WriteHeaders(http2.HeadersFrameParam{
				StreamID: id, BlockFragment: p.block.Bytes(), EndHeaders: true, EndStream: true,
			})
		},
		"pings":    func(p *peer, _ uint32) error { return p.WritePing(false, [8]byte{}) },
		"settings": func(p *peer, _ uint32) error { return p.WriteSettings() },
	}
	for name, flood := range floods {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := start(t, func(o *unary.Options) { o.Patience = 100 * time.Millisecond })
			p := b.connect(t)
			// Fields that depend on no other block.
			p.encoder.SetMaxDynamicTableSize(0)
			p.open(t, 1, true)
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			sent := 0
			for id := uint32(3); ; id += 2 {
				if err := flood(p, id); err != nil {
					break // the server has left
				}
				if sent++; sent > 50_000_000 {
					t.Fatal("the server goes on for ever")
				}
			}
			runtime.ReadMemStats(&after)
			if after.HeapInuse > before.HeapInuse+64<<20 {
				t.Errorf("%d MiB are in use after %d frames", (after.HeapInuse-before.HeapInuse)>>20, sent)
			}
		})
	}
}

// TestAnswersWaitForWindows, and come whole and in order once there is room, however small the steps.
func TestAnswersWaitForWindows(t *testing.T) {
	b := start(t)
	p := b.connect(t, http2.Setting{ID: http2.SettingInitialWindowSize, Val: 0})
	p.call(t, 1, "q1")
	p.call(t, 3, "l")
	p.call(t, 5, "w5")
	all := int64(len(prefixed("re:q1")) + len(prefixed("re:w5")) + len(prefixed("")) + longAnswer)
	eventually.True(t, "the answers wait", func() bool { return b.server.Held() == all })
	p.must(t, p.WriteWindowUpdate(1, 4))
	p.must(t, p.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 5}))
	p.must(t, p.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 70_000}))
	ends := map[uint32]end{}
	for len(ends) < 3 {
		id, e := p.next(t)
		ends[id] = e
	}
	if ends[1] != answered("q1") || ends[5] != answered("w5") ||
		ends[3].message != strings.Repeat("l", longAnswer) || ends[3].code != "0" {
		t.Errorf("got %+v and %+v, and %d bytes", ends[1], ends[5], len(ends[3].message))
	}
	if n := b.server.Held(); n != 0 {
		t.Errorf("%d bytes are held", n)
	}
}

// TestWindowsAreKept: the server sends no more than it may, and a peer that sends more than it may,
// or gives more than there is, is told so.
func TestWindowsAreKept(t *testing.T) {
	b := start(t, func(o *unary.Options) { o.MaxMessage = 64 << 10 })
	p := b.connect(t)
	p.call(t, 1, "l")
	sent := 0
	for sent < 65535 {
		f, err := p.ReadFrame()
		p.must(t, err)
		if d, ok := f.(*http2.DataFrame); ok {
			sent += len(d.Data())
		}
	}
	// A ping behind it: had there been more, it would have come before.
	p.must(t, p.WritePing(false, [8]byte{1}))
	for {
		f, err := p.ReadFrame()
		p.must(t, err)
		if d, ok := f.(*http2.DataFrame); ok {
			t.Fatalf("%d bytes more came than there was room for", len(d.Data()))
		}
		if ping, ok := f.(*http2.PingFrame); ok && ping.IsAck() {
			break
		}
	}
	p = b.connect(t)
	p.must(t, p.WriteWindowUpdate(0, 1<<31-1))
	if code, said := p.goAway(t); !said || code != http2.ErrCodeFlowControl {
		t.Errorf("a window of the connection beyond 2^31-1: got %v, %v", code, said)
	}
	p = b.connect(t)
	p.open(t, 1, false)
	p.must(t, p.WriteWindowUpdate(1, 1<<31-1))
	if id, e := p.next(t); id != 1 || e.reset != http2.ErrCodeFlowControl {
		t.Errorf("a window of a stream beyond 2^31-1: got %d, %+v", id, e)
	}
}

// TestPaddingCostsNoWindow: a message in many frames of a byte each, with padding, comes whole.
func TestPaddingCostsNoWindow(t *testing.T) {
	b := start(t, func(o *unary.Options) { o.MaxMessage = 64 << 10 })
	p := b.connect(t)
	go func() { _, _ = io.Copy(io.Discard, p.Conn) }()
	p.open(t, 1, false)
	message := prefixed(strings.Repeat("w", 4000))
	for n := range message {
		p.must(t, p.WriteDataPadded(1, n == len(message)-1, message[n:n+1], make([]byte, 255)))
	}
	eventually.True(t, "the message is whole", func() bool { return b.worked.Load() == 1 })
}

// TestHeaderFieldsAreBounded, in one frame or in many.
func TestHeaderFieldsAreBounded(t *testing.T) {
	b := start(t)
	p := b.connect(t)
	p.open(t, 1, true, "x", strings.Repeat("a", 15<<10))
	if _, e := p.next(t); e.code == "" {
		t.Errorf("15 KiB: got %+v", e)
	}
	p.open(t, 3, true, "y", strings.Repeat("b", 8000), "z", strings.Repeat("c", 9000))
	if _, e := p.next(t); e.reset != http2.ErrCodeEnhanceYourCalm {
		t.Errorf("17 KiB: got %+v", e)
	}
	// The tables of both ends still agree.
	p.open(t, 5, true, "y", strings.Repeat("b", 8000))
	if _, e := p.next(t); e.code == "" {
		t.Errorf("after that: got %+v", e)
	}
	// In two frames, beside a call that waits and goes on.
	p.call(t, 7, "x")
	long := []byte(strings.Repeat("\x00\x01x\x7f\x80\x01"+strings.Repeat("a", 255), 60))
	p.must(t, p.WriteHeaders(http2.HeadersFrameParam{StreamID: 9, BlockFragment: long, EndStream: true}))
	p.must(t, p.WriteContinuation(9, true, long))
	if id, e := p.next(t); id != 9 || e.reset != http2.ErrCodeEnhanceYourCalm {
		t.Errorf("two frames: got %d, %+v", id, e)
	}
	close(b.release)
	if id, e := p.next(t); id != 7 || e != answered("x") {
		t.Errorf("the call beside it: got %d, %+v", id, e)
	}
	p.must(t, p.WriteHeaders(http2.HeadersFrameParam{StreamID: 11, BlockFragment: long}))
	for range 4 {
		p.must(t, p.WriteContinuation(11, false, long))
	}
	if code, said := p.goAway(t); !said || code != http2.ErrCodeProtocol {
		t.Errorf("fields without end: got %v, %v", code, said)
	}
}

// TestABlockThatWasNotReadEndsItsConnection: both ends' tables would differ from then on.
func TestABlockThatWasNotReadEndsItsConnection(t *testing.T) {
	b := start(t)
	for name, flags := range map[string]http2.Flags{
		"whole": http2.FlagHeadersEndHeaders | http2.FlagHeadersPadded, "in parts": http2.FlagHeadersPadded,
	} {
		p := b.connect(t)
		p.open(t, 1, false)
		p.must(t, p.WriteRawFrame(http2.FrameHeaders, flags, 3, []byte{200, 0x82, 0x84}))
		if code, said := p.goAway(t); !said || code != http2.ErrCodeProtocol {
			t.Errorf("%s: got %v, %v", name, code, said)
		}
	}
}

// TestABodyIsAsLongAsItsHeaderSays.
func TestABodyIsAsLongAsItsHeaderSays(t *testing.T) {
	b := start(t)
	p := b.connect(t)
	id := uint32(1)
	for length, ok := range map[string]bool{"6": true, "5": false, "7": false, "-6": false, "six": false, "": false} {
		p.open(t, id, false, "content-length", length)
		p.must(t, p.WriteData(id, true, prefixed("q")))
		if _, e := p.next(t); ok && e != answered("q") || !ok && e.reset != http2.ErrCodeProtocol {
			t.Errorf("%q: got %+v", length, e)
		}
		id += 2
	}
}

// TestNoPeerHoldsAllThatMayBeHeld: one that sends half messages has its share, and others' calls are
// answered even when there is nothing left.
func TestNoPeerHoldsAllThatMayBeHeld(t *testing.T) {
	b := start(t, func(o *unary.Options) { o.MaxMessage, o.MaxHeld = 64<<10, 8<<20 })
	half := append([]byte{0, 0, 0, 255, 255}, strings.Repeat("w", 16_000)...)
	var peers []*peer
	for range 17 {
		p := b.connect(t)
		peers = append(peers, p)
		for id := uint32(1); id < 80; id += 2 {
			p.open(t, id, false)
			p.must(t, p.WriteData(id, false, half))
		}
		p.must(t, p.WriteRSTStream(1, http2.ErrCodeCancel)) // so that there is room for a little less
	}
	for _, p := range peers {
		if _, e := p.next(t); e.code != "8" {
			t.Errorf("got %+v", e)
		}
	}
	if n := b.server.Held(); n > 8<<20 || n < 7<<20 {
		t.Errorf("%d bytes are held", n)
	}
	honest := b.connect(t)
	honest.call(t, 1, "w"+strings.Repeat("a", 1000))
	if _, e := honest.next(t); e.code != "0" {
		t.Errorf("got %.200v", e)
	}
}

// TestMessagesThatDoNotBecomeWholeAreRefused in the end, and calls that wait are not.
func TestMessagesThatDoNotBecomeWholeAreRefused(t *testing.T) {
	b := start(t, func(o *unary.Options) { o.Patience = 50 * time.Millisecond })
	p := b.connect(t)
	p.call(t, 1, "x")
	p.open(t, 3, false)
	p.must(t, p.WriteData(3, false, prefixed("quick")[:7]))
	if id, e := p.next(t); id != 3 || e != refused(codes.DeadlineExceeded, "the call's time is over") {
		t.Errorf("got %d, %+v", id, e)
	}
	close(b.release)
	for {
		if id, e := p.next(t); id == 1 {
			if e != answered("x") {
				t.Errorf("got %+v", e)
			}
			return
		}
	}
}

// TestAnswersThatAreNotTakenAreLetGo in the end, also when the peer gives signs of life.
func TestAnswersThatAreNotTakenAreLetGo(t *testing.T) {
	b := start(t, func(o *unary.Options) { o.Patience = 50 * time.Millisecond })
	p := b.connect(t, http2.Setting{ID: http2.SettingInitialWindowSize, Val: 0})
	p.call(t, 1, "q")
	for {
		p.must(t, p.WritePing(false, [8]byte{}))
		f, err := p.ReadFrame()
		p.must(t, err)
		if f, ok := f.(*http2.RSTStreamFrame); ok {
			if f.StreamID != 1 || f.ErrCode != http2.ErrCodeEnhanceYourCalm {
				t.Errorf("got %v", f)
			}
			break
		}
	}
	eventually.True(t, "nothing is held", func() bool { return b.server.Held() == 0 })
}

// TestHeaderFieldsComeInFewFrames: empty ones, or some of a byte each, could go on for ever.
func TestHeaderFieldsComeInFewFrames(t *testing.T) {
	b := start(t)
	for name, part := range map[string]string{"empty": "", "of a byte": "a"} {
		p := b.connect(t)
		p.must(t, p.WriteHeaders(http2.HeadersFrameParam{
			StreamID: 1, BlockFragment: []byte("\x00\x01x\x7f\x80\x01"),
		}))
		for range 8 {
			p.must(t, p.WriteContinuation(1, false, []byte(part)))
		}
		if code, said := p.goAway(t); !said || code != http2.ErrCodeProtocol {
			t.Errorf("%s: got %v, %v", name, code, said)
		}
	}
}

// widest is a listener that notes how much is written at once.
type widest struct {
	net.Listener
	most atomic.Int64
}

type widestConn struct {
	*net.TCPConn
	l *widest
}

func (l *widest) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return widestConn{c.(*net.TCPConn), l}, nil
}

func (c widestConn) Write(b []byte) (int, error) {
	if n := int64(len(b)); n > c.l.most.Load() {
		c.l.most.Store(n) // one connection, so one write at a time
	}
	return c.TCPConn.Write(b)
}

// TestNoMoreIsMadeThanCanBeWritten, however little the frames are that ask for it: refusals of calls,
// and windows that become wider by a byte.
func TestNoMoreIsMadeThanCanBeWritten(t *testing.T) {
	for name, flood := range map[string]func(*peer, *http2.Framer){
		"refusals": func(p *peer, f *http2.Framer) {
			p.encoder.SetMaxDynamicTableSize(4096)
			for id := uint32(1); id < 60_000; id += 2 {
				p.block.Reset()
				for _, h := range []string{":method", "POST", ":scheme", "http", ":path", path} {
					p.fieldPair(h)
				}
				p.fieldPair("content-type")
				p.fieldPair("application/grpc")
				_ = f.WriteHeaders(http2.HeadersFrameParam{
					StreamID: id, BlockFragment: p.block.Bytes(), EndHeaders: true, EndStream: true,
				})
			}
		},
		"windows": func(p *peer, f *http2.Framer) {
			for size := uint32(1); size < 1100; size++ {
				_ = f.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: size})
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			b := start(t, func(o *unary.Options) { o.MaxStreams = 1000 })
			inner, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			l, ended := &widest{Listener: inner}, make(chan error, 1)
			go func() { ended <- b.server.Serve(l) }()
			second := &bench{address: inner.Addr().String()}
			p := second.connect(t, http2.Setting{ID: http2.SettingInitialWindowSize, Val: 0})
			p.must(t, p.WriteWindowUpdate(0, 1<<30))
			if name == "windows" {
				for id := uint32(1); id < 1000; id += 2 {
					p.call(t, id, "q"+strings.Repeat("x", 1000))
				}
			}
			var all bytes.Buffer
			flood(p, http2.NewFramer(&all, nil))
			read := make(chan struct{})
			go func() {
				defer close(read)
				_, _ = io.Copy(io.Discard, p.Conn)
			}()
			_, err = p.Conn.Write(all.Bytes())
			p.must(t, err)
			p.must(t, p.WriteGoAway(0, http2.ErrCodeNo, nil)) // it ends once all has been answered
			<-read
			if n := l.most.Load(); n > 256<<10 {
				t.Errorf("%d bytes were written at once", n)
			}
			b.server.Stop()
			<-ended
		})
	}
}

// TestAsManyWorkAsThereAreProcessors, however many calls come at once.
func TestAsManyWorkAsThereAreProcessors(t *testing.T) {
	b := start(t, func(o *unary.Options) { o.MaxStreams = 1000 })
	p := b.connect(t)
	p.encoder.SetMaxDynamicTableSize(0)
	p.open(t, 1, true) // so that its fields are in p.block
	if _, e := p.next(t); e.code == "" {
		t.Errorf("got %+v", e)
	}
	var all bytes.Buffer
	f := http2.NewFramer(&all, nil)
	for id := uint32(3); id < 1800; id += 2 {
		p.must(t, f.WriteHeaders(http2.HeadersFrameParam{
			StreamID: id, BlockFragment: p.block.Bytes(), EndHeaders: true,
		}))
		p.must(t, f.WriteData(id, true, prefixed("w")))
	}
	_, err := p.Conn.Write(all.Bytes())
	p.must(t, err)
	for id := uint32(3); id < 1800; id += 2 {
		if _, e := p.next(t); e != answered("w") {
			t.Fatalf("got %+v", e)
		}
	}
	if n := b.together.Load(); n > int64(runtime.GOMAXPROCS(0)) {
		t.Errorf("%d worked at a time", n)
	}
}

// TestStrangersAndConnectionsAreBounded: a stranger takes no place of those who speak HTTP/2, and one
// of those beyond the limit is told so.
func TestStrangersAndConnectionsAreBounded(t *testing.T) {
	b := start(t, func(o *unary.Options) { o.MaxConnections = 2 })
	for range 40 {
		conn, err := net.Dial("tcp", b.address)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
	}
	first, second := b.connect(t), b.connect(t)
	for _, p := range []*peer{first, second} {
		p.asks(t, 1, "q")
	}
	if code, said := b.connect(t).goAway(t); !said || code != http2.ErrCodeEnhanceYourCalm {
		t.Errorf("a third: got %v, %v", code, said)
	}
	if n := b.strangers.Load(); n < 24 || b.refused.Load() != n+1 {
		t.Errorf("%d strangers of %d were refused", n, b.refused.Load())
	}
	first.must(t, first.Close())
	eventually.True(t, "there is a place", func() bool {
		p := b.connect(t)
		defer p.Close()
		_, said := p.goAwayOr(t)
		return !said
	})
}

// TestSilenceEndsConnections of peers that are dead or say nothing, and no others.
func TestSilenceEndsConnections(t *testing.T) {
	b := start(t, func(o *unary.Options) {
		o.Handshake = 50 * time.Millisecond
		o.Silence, o.Patience = 50*time.Millisecond, 50*time.Millisecond
	})
	for _, word := range []string{"", "P", http2.ClientPreface[:23], http2.ClientPreface, strings.Repeat("x", 24)} {
		conn, err := net.Dial("tcp", b.address)
		if err != nil {
			t.Fatal(err)
		}
		_, err = io.WriteString(conn, word)
		if err != nil {
			t.Fatal(err)
		}
		_ = conn.SetReadDeadline(time.Now().Add(20 * time.Second))
		if _, err := io.Copy(io.Discard, conn); isTimeout(err) {
			t.Errorf("%q: the connection stays open", word)
		}
		_ = conn.Close()
	}
	dead := b.connect(t)
	dead.goAway(t) // answers no ping
	alive := b.connect(t)
	for pings := 0; pings < 5; {
		f, err := alive.ReadFrame()
		alive.must(t, err)
		if ping, ok := f.(*http2.PingFrame); ok && !ping.IsAck() {
			alive.must(t, alive.WritePing(true, ping.Data))
			pings++
		}
	}
}
