package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/sallyport/sallyport/internal/revocation/redislog"
)

// fleet is what simulated gates have in common.
type fleet struct {
	settings redislog.Config
	prefix   string
	began    time.Time
	// by the place of an entry: when the last gate got it, and how many have
	lastAt  []atomic.Int64
	arrived []atomic.Int32

	delivered, beaten, failed atomic.Int64
}

// mono is the time since the run began.
func (f *fleet) mono() int64 { return int64(time.Since(f.began)) }

func (f *fleet) got(seq uint64) {
	f.delivered.Add(1)
	if seq >= uint64(len(f.lastAt)) {
		return
	}
	f.arrived[seq].Add(1)
	now := f.mono()
	for {
		last := f.lastAt[seq].Load()
		if last >= now || f.lastAt[seq].CompareAndSwap(last, now) {
			return
		}
	}
}

// gate is a simulated gate. It sends what a real one sends to Redis, byte for byte but for its
// line's words, and of the answers it reads what a real one needs: whether a heartbeat counts, and
// which entries have come.
type gate struct {
	*fleet
	number int
	at     string                 // the Unix socket
	epoch  atomic.Pointer[string] // as the last heartbeat had it
	// what it has applied, and the newest heartbeat that counts, by when it was sent
	applied   atomic.Pointer[position]
	confirmed atomic.Int64
	// the newest heartbeat whose head has not been applied yet
	waiting atomic.Pointer[waiting]
}

type position struct {
	seq   uint64
	chain string
}

type waiting struct {
	sent int64
	seq  uint64
}

func newGate(f *fleet, number int, at string) *gate {
	g := &gate{fleet: f, number: number, at: at}
	g.applied.Store(&position{chain: "0"})
	g.epoch.Store(new("0"))
	return g
}

// run works as a gate does until ctx ends.
func (g *gate) run(ctx context.Context) {
	loaded := make(chan struct{})
	go g.again(ctx, func(c *conn) error { return g.tail(c, loaded) })
	select {
	case <-loaded:
		g.again(ctx, g.beats)
	case <-ctx.Done():
	}
}

// again connects and does part over the connection, again and again until ctx ends.
func (g *gate) again(ctx context.Context, part func(*conn) error) {
	for ctx.Err() == nil {
		err := g.over(ctx, part)
		if err != nil && ctx.Err() == nil {
			g.failed.Add(1)
		}
		pause(ctx, g.settings.Heartbeat)
	}
}

func (g *gate) over(ctx context.Context, part func(*conn) error) error {
	socket, err := (&net.Dialer{Timeout: time.Second}).DialContext(ctx, "unix", g.at)
	if err != nil {
		return err
	}
	defer socket.Close()
	defer context.AfterFunc(ctx, func() { _ = socket.SetDeadline(time.Unix(1, 0)) })()
	c := &conn{ctx: ctx, socket: socket, r: bufio.NewReaderSize(socket, 2048)}
	// go-redis' greeting.
	if err := c.send(time.Second, command("HELLO", "2")); err != nil {
		return err
	}
	if err := c.skip(); err != nil {
		return err
	}
	return part(c)
}

func (g *gate) key() string { return g.prefix + ":replica:" + strconv.Itoa(g.number) }

// line is as long as a real gate's.
func (g *gate) line(p *position) string {
	return fmt.Sprintf(`%s %d %s %d %016x {"version":"v0.0.0-scale","staleness_ms":120,`+
		`"key_set_age_ms":12345,"ready":true,"max_staleness_ms":10000,"name":"gate-%d"}`,
		*g.epoch.Load(), p.seq, p.chain, g.mono(), g.number, g.number)
}

func (g *gate) set(p *position) []byte {
	return command("SET", g.key(), g.line(p), "PX", "600000")
}

// beats sends heartbeats, which count from the moment at which the first is settle old.
func (g *gate) beats(c *conn) error {
	var first time.Duration
	began := time.Now()
	for {
		p := g.applied.Load()
		mine := strconv.FormatUint(p.seq, 10) + "-0"
		b := command("MULTI")
		b = append(b, command("GETRANGE", g.key(), "0", "2047")...)
		b = append(b, g.set(p)...)
		b = append(b, command("HMGET", g.prefix+":rev:head", "epoch", "seq", "chain", "first",
			"mending", "max_token_lifetime", "era")...)
		b = append(b, command("TIME")...)
		b = append(b, command("XRANGE", g.prefix+":rev:log", mine, mine)...)
		b = append(b, command("EXEC")...)
		b = append(b, command("WAIT", "0", "500")...)
		sent := g.mono()
		if err := c.send(g.settings.Settle, b); err != nil {
			return err
		}
		epoch, head, err := c.beaten()
		if err != nil {
			return err
		}
		if epoch != *g.epoch.Load() {
			g.epoch.Store(&epoch)
		}
		g.beaten.Add(1)
		now := time.Since(began)
		if first == 0 {
			first = now
		} else if now-first >= g.settings.Settle {
			g.counts(sent, head)
		}
		took := time.Duration(g.mono() - sent)
		if !pause(c.ctx, g.settings.Heartbeat-took) {
			return nil
		}
	}
}

// counts takes a good heartbeat, which counts once its head has been applied.
func (g *gate) counts(sent int64, head uint64) {
	if g.applied.Load().seq >= head {
		g.confirmed.Store(sent)
		return
	}
	g.waiting.Store(&waiting{sent, head})
	g.countWaiting() // it may have been applied meanwhile
}

func (g *gate) countWaiting() {
	w := g.waiting.Load()
	if w != nil && g.applied.Load().seq >= w.seq && g.waiting.CompareAndSwap(w, nil) {
		g.confirmed.Store(max(w.sent, g.confirmed.Load()))
	}
}

// tail loads the log, the first time, and then waits for what is appended.
func (g *gate) tail(c *conn, loaded chan struct{}) error {
	if g.applied.Load().seq == 0 {
		if err := g.load(c); err != nil {
			return err
		}
		close(loaded)
	}
	var written *position
	for c.ctx.Err() == nil {
		p := g.applied.Load()
		var b []byte
		if p != written {
			b = g.set(p)
		}
		b = append(b, command("XREAD", "COUNT", "2000", "BLOCK",
			strconv.FormatInt(g.settings.Heartbeat.Milliseconds(), 10), "STREAMS", g.prefix+":rev:log",
			strconv.FormatUint(p.seq, 10)+"-0")...)
		if err := c.send(g.settings.Heartbeat+g.settings.Settle, b); err != nil {
			return err
		}
		if p != written {
			if err := c.skip(); err != nil {
				return err
			}
			written = p
		}
		if err := c.streams(g.apply); err != nil {
			return err
		}
		g.countWaiting()
	}
	return nil
}

// load finds a place for the line, as a real gate does at its start, and reads the log.
func (g *gate) load(c *conn) error {
	var b []byte
	for k := range g.settings.MaxGates {
		b = append(b, command("GETRANGE", g.prefix+":replica:"+strconv.Itoa(k+1), "0", "2047")...)
	}
	if err := c.send(longest, b); err != nil {
		return err
	}
	for range g.settings.MaxGates {
		if err := c.skip(); err != nil {
			return err
		}
	}
	for {
		p := g.applied.Load()
		if err := c.send(longest, command("XRANGE", g.prefix+":rev:log",
			strconv.FormatUint(p.seq+1, 10)+"-0", "+", "COUNT", "2000")); err != nil {
			return err
		}
		n, err := c.entries(func(id, chain string) error {
			seq, err := seqOf(id)
			g.applied.Store(&position{seq, chain})
			return err
		})
		if err != nil || n < 2000 {
			return err
		}
	}
}

// apply takes an entry, which must follow the one before it.
func (g *gate) apply(id, chain string) error {
	p := g.applied.Load()
	seq, err := seqOf(id)
	if err != nil || seq != p.seq+1 {
		return fmt.Errorf("scale: expected entry %d, got %q", p.seq+1, id)
	}
	g.applied.Store(&position{seq, chain})
	g.got(seq)
	return nil
}

// pause waits and reports whether ctx goes on. It is never the same for all gates, so that those
// that begin together do not stay so.
func pause(ctx context.Context, d time.Duration) bool {
	if d > 0 {
		d += time.Duration(rand.Int64N(int64(d)/10+1)) - d/20
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
	return ctx.Err() == nil
}

var errAnswer = errors.New("scale: an answer has not the expected form")
