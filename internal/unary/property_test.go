package unary_test

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"golang.org/x/net/http2"
	"pgregory.net/rapid"

	"github.com/sallyport/sallyport/internal/unary"
)

// client is a peer whose calls, windows and answers are kept account of.
type client struct {
	*peer
	next uint32 // the stream of the next call

	sent    map[uint32]string // calls whose message is whole
	partial map[uint32][]byte // what is still to be sent of the others
	given   map[uint32]bool   // calls that were given up
	initial int64             // as set last

	mu       sync.Mutex // guards what follows, of which the reader has its part
	greatest int64      // initial window so far
	windows  map[uint32]int64
	received map[uint32]int64
	ends     map[uint32][]end
	wrong    []string
	done     chan struct{}
}

// read reads until the connection ends. No window is given back by itself.
func (c *client) read() {
	defer close(c.done)
	for {
		f, err := c.ReadFrame()
		if err != nil {
			return
		}
		c.mu.Lock()
		c.take(f)
		c.mu.Unlock()
	}
}

func (c *client) take(f http2.Frame) {
	id := f.Header().StreamID
	s := c.streams[id]
	if s == nil {
		s = &end{}
		c.streams[id] = s
	}
	switch f := f.(type) {
	case *http2.HeadersFrame:
		c.fields = map[string]string{}
		if _, err := c.decoder.Write(f.HeaderBlockFragment()); err != nil {
			c.wrong = append(c.wrong, err.Error())
		}
		s.status, s.code = s.status+c.fields[":status"], c.fields["grpc-status"]
		if f.StreamEnded() {
			if body := c.bodies[id]; len(body) >= 5 {
				s.message = string(body[5:])
			}
			c.ends[id] = append(c.ends[id], *s)
		}
	case *http2.DataFrame:
		c.bodies[id] = append(c.bodies[id], f.Data()...)
		c.received[0] += int64(f.Length)
		c.received[id] += int64(f.Length)
		if c.received[0] > c.windows[0] || c.received[id] > c.windows[id]+c.greatest {
			c.wrong = append(c.wrong, fmt.Sprintf("stream %d has more than its window: %d, %d of all", id,
				c.received[id], c.received[0]))
		}
	case *http2.RSTStreamFrame:
		c.ends[id] = append(c.ends[id], end{reset: f.ErrCode, isReset: true})
	case *http2.GoAwayFrame:
		if f.ErrCode != http2.ErrCodeNo {
			c.wrong = append(c.wrong, f.String())
		}
	}
}

// widen gives the server room on a stream, or, as stream 0, on the connection.
func (c *client) widen(t testing.TB, stream uint32, by int64) {
	c.mu.Lock()
	c.windows[stream] += by
	c.mu.Unlock()
	c.must(t, c.WriteWindowUpdate(stream, uint32(by)))
}

func (c *client) setInitial(t testing.TB, to int64) {
	c.mu.Lock()
	c.greatest = max(c.greatest, to)
	c.mu.Unlock()
	c.initial = to
	c.must(t, c.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: uint32(to)}))
}

// send sends n bytes of a call that is not whole, with padding or none.
func (c *client) send(t testing.TB, id uint32, n int, padding int) {
	rest := c.partial[id]
	part := rest[:min(n, len(rest))]
	whole := len(part) == len(rest)
	var pad []byte
	if padding > 0 {
		pad = make([]byte, padding)
	}
	c.must(t, c.WriteDataPadded(id, whole, part, pad))
	if c.partial[id] = rest[len(part):]; whole {
		delete(c.partial, id)
	}
}

// TestEachCallIsAnsweredOnce, with its own answer, whatever becomes of the calls beside it and of the
// windows; what was given up may be answered or not, and no window is exceeded.
func TestEachCallIsAnsweredOnce(t *testing.T) {
	b := start(t, func(o *unary.Options) { o.MaxHeld = 1 << 30 }) // a sixteenth each
	rapid.Check(t, func(rt *rapid.T) {
		c := &client{
			peer: b.connect(t), next: 1, sent: map[uint32]string{}, partial: map[uint32][]byte{},
			given: map[uint32]bool{}, initial: 65535, greatest: 65535,
			windows: map[uint32]int64{0: 65535}, received: map[uint32]int64{}, ends: map[uint32][]end{},
			done: make(chan struct{}),
		}
		defer c.Close()
		go c.read()
		begun := func(rt *rapid.T) uint32 {
			if len(c.partial) == 0 {
				rt.Skip("no call is half sent")
			}
			ids := []uint32{}
			for id := range c.partial {
				ids = append(ids, id)
			}
			slices.Sort(ids)
			return rapid.SampledFrom(ids).Draw(rt, "call")
		}
		rt.Repeat(map[string]func(*rapid.T){
			"call": func(rt *rapid.T) {
				if c.next > 120 { // within the limit of calls at a time
					rt.Skip("enough")
				}
				message := rapid.SampledFrom([]string{"q", "w", "l"}).Draw(rt, "kind") +
					strings.Repeat("m", rapid.SampledFrom([]int{0, 1, 50, 3000}).Draw(rt, "size"))
				id := c.next
				c.next += 2
				c.open(t, id, false)
				c.sent[id], c.partial[id] = message, prefixed(message)
			},
			"some of a message": func(rt *rapid.T) {
				id := begun(rt)
				c.send(t, id, rapid.IntRange(0, 4000).Draw(rt, "bytes"),
					rapid.SampledFrom([]int{0, 0, 1, 255}).Draw(rt, "padding"))
			},
			"a call is given up": func(rt *rapid.T) {
				id := rapid.Uint32Range(0, c.next/2).Draw(rt, "call")*2 + 1
				if id >= c.next || c.given[id] {
					rt.Skip("none such")
				}
				c.given[id] = true
				delete(c.partial, id)
				c.must(t, c.WriteRSTStream(id, http2.ErrCodeCancel))
			},
			"room on the connection": func(rt *rapid.T) {
				c.widen(t, 0, rapid.Int64Range(1, 100_000).Draw(rt, "bytes"))
			},
			"room on a stream": func(rt *rapid.T) {
				id := rapid.Uint32Range(0, c.next/2).Draw(rt, "call")*2 + 1
				if id >= c.next {
					rt.Skip("none such")
				}
				c.widen(t, id, rapid.Int64Range(1, 100_000).Draw(rt, "bytes"))
			},
			"another initial window": func(rt *rapid.T) {
				c.setInitial(t, rapid.SampledFrom([]int64{0, 1, 100, 65535, 200_000}).Draw(rt, "bytes"))
			},
			"a ping": func(*rapid.T) { c.must(t, c.WritePing(false, [8]byte{1})) },
		})
		for id := range c.partial {
			c.send(t, id, 1<<20, 0)
		}
		c.setInitial(t, 200_000)
		c.widen(t, 0, 1<<30)
		// Everything is answered, and the connection ends by itself.
		c.must(t, c.WriteGoAway(0, http2.ErrCodeNo, nil))
		<-c.done
		c.judge(rt)
	})
}

// judge holds what has come against what was sent.
func (c *client) judge(rt *rapid.T) {
	for _, wrong := range c.wrong {
		rt.Error(wrong)
	}
	for id, message := range c.sent {
		want := answered(message)
		if message[0] == 'l' {
			want.message = strings.Repeat("l", longAnswer)
		}
		switch ends := c.ends[id]; {
		case c.given[id] && len(ends) <= 1:
		case len(ends) != 1 || ends[0] != want:
			rt.Errorf("call %d of %.5q and %d bytes, given up: %v: got %.200v", id, message, len(message),
				c.given[id], ends)
		}
	}
	for id := range c.ends {
		if c.sent[id] == "" {
			rt.Errorf("stream %d is answered, which was no call", id)
		}
	}
}
