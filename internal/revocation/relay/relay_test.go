package relay_test

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/sallyport/sallyport/internal/eventually"
	"github.com/sallyport/sallyport/internal/revocation"
	"github.com/sallyport/sallyport/internal/revocation/relay"
)

// TestAGateThatAsksARelayIsFreshAndDenies: nothing in it differs from one that asks Redis.
func TestAGateThatAsksARelayIsFreshAndDenies(t *testing.T) {
	t.Parallel()
	r := startRedis(t)
	i := startIssuer(t, r.Address())
	i.revoke(t, "before")
	n := startRelay(t, r.Address(), "relay-1", nil)
	g := startGate(t, n.addr, "gate-1")
	eventually.True(t, "the gate is fresh", g.fresh)
	if !g.denies("before") {
		t.Error("a fresh gate allows what was revoked before it started (S2)")
	}
	i.revoke(t, "after")
	eventually.True(t, "the gate denies what is revoked now", func() bool { return g.denies("after") })
}

// mistaken is a relay's end of the log that makes a mistake in what it hands on.
type mistaken struct {
	relay.Log
	tail func(answer []byte, seq uint64) []byte
	page func(answer []byte) []byte
}

func (m mistaken) Tail(ctx context.Context, seq uint64, count int) ([]byte, error) {
	answer, err := m.Log.Tail(ctx, seq, count)
	if m.tail != nil && answer != nil {
		answer = m.tail(answer, seq)
	}
	return answer, err
}

func (m mistaken) Page(ctx context.Context, from uint64, count int) ([]byte, error) {
	answer, err := m.Log.Page(ctx, from, count)
	if m.page != nil {
		answer = m.page(answer)
	}
	return answer, err
}

// TestWhatARelayHandsOnWronglyAllowsNothing: it may lose, repeat, change and invent entries. A gate
// that counts as fresh by a heartbeat sent after a revocation was acknowledged denies what that
// revokes, or it is not fresh: what comes over the tail is never believed alone.
func TestWhatARelayHandsOnWronglyAllowsNothing(t *testing.T) {
	t.Parallel()
	empty := []byte("*-1\r\n")
	for name, m := range map[string]mistaken{
		"nothing comes": {tail: func([]byte, uint64) []byte { return empty }},
		"every third answer is lost": {tail: func() func([]byte, uint64) []byte {
			var n atomic.Int64
			return func(answer []byte, _ uint64) []byte {
				if n.Add(1)%3 == 0 {
					return empty
				}
				return answer
			}
		}()},
		"entries come under another place": {tail: func(answer []byte, seq uint64) []byte {
			return bytes.ReplaceAll(answer, fmt.Appendf(nil, "\r\n%d-0\r\n", seq+1),
				fmt.Appendf(nil, "\r\n%d-0\r\n", seq+2))
		}},
		"entries name another session": {tail: func(answer []byte, _ uint64) []byte {
			return bytes.ReplaceAll(answer, []byte("session-"), []byte("another-"))
		}},
		"the chain is another": {tail: func(answer []byte, _ uint64) []byte {
			if at := bytes.Index(answer, []byte("$40\r\n")); at >= 0 {
				answer = bytes.Clone(answer)
				answer[at+5] ^= 1
			}
			return answer
		}},
		"a load ends early": {page: func([]byte) []byte { return []byte("*0\r\n") }},
		"a load names another session": {page: func(answer []byte) []byte {
			return bytes.ReplaceAll(answer, []byte("session-"), []byte("another-"))
		}},
		"a load is no answer": {page: func([]byte) []byte { return []byte("*1\r\n$1\r\nx\r\n") }},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := startRedis(t)
			i := startIssuer(t, r.Address())
			i.revoke(t, "session-0")
			n := startRelay(t, r.Address(), "relay-1", func(log relay.Log) relay.Log {
				m.Log = log
				return m
			})
			g := startGate(t, n.addr, "gate-1")
			var confirmed int
			for k := range 30 {
				session := fmt.Sprintf("session-%d", k)
				if k > 0 {
					i.revoke(t, session)
				}
				acknowledged := g.Instant()
				for range 20 {
					now := g.Instant()
					f := g.Freshness(now)
					// The heartbeat that counts last was sent after the acknowledgement.
					if f.Fresh && now.Mono-f.Staleness > acknowledged.Mono {
						confirmed++
						if !g.denies(session) {
							t.Fatalf("a gate that is confirmed since allows %s (S1)", session)
						}
						break
					}
					time.Sleep(5 * time.Millisecond) // looks again, as requests would
				}
			}
			if m.page == nil {
				t.Logf("%d of 30 were confirmed", confirmed)
			} else if confirmed > 0 {
				t.Error("a gate is fresh that could not load the log (S2)")
			}
		})
	}
}

// asker is a gate's connection for heartbeats, in bare commands.
type asker struct {
	t testing.TB
	w io.Writer
	r *bufio.Reader
}

func ask(t testing.TB, addr string) asker {
	t.Helper()
	c := dial(t, addr)
	return asker{t, c, bufio.NewReader(c)}
}

// beat sends a heartbeat and returns the place of the head in the answer.
func (a asker) beat() (head uint64, err error) {
	all := heartbeat("1-0")
	if _, err := io.WriteString(a.w, strings.Join(all, "")+command("WAIT", "0", "100")); err != nil {
		return 0, err
	}
	var lines []string
	for len(lines) == 0 || !strings.HasPrefix(lines[len(lines)-1], ":") {
		line, err := a.r.ReadString('\n')
		if err != nil {
			return 0, err
		}
		lines = append(lines, strings.TrimRight(line, "\r\n"))
	}
	for k, line := range lines {
		if line == "*7" { // the head: epoch, then place, each behind its length
			return strconv.ParseUint(lines[k+4], 10, 64)
		}
	}
	return 0, fmt.Errorf("no head in %q", lines)
}

// late returns an address at which a server is reached whose answers are late, so that there is time
// between a step of its and the answer.
func late(t testing.TB, backend string) string {
	t.Helper()
	pause := func() { time.Sleep(20 * time.Millisecond) } // this is what it is for
	return proxy(t, backend, func([]byte) {}, pause)
}

// proxy returns an address at which a server is reached. asked is told what it is sent, and each of
// its answers waits for answered.
func proxy(t testing.TB, backend string, asked func([]byte), answered func()) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	started(t, func(ctx context.Context) error {
		var both sync.WaitGroup
		defer both.Wait()
		defer context.AfterFunc(ctx, func() { _ = l.Close() })()
		for {
			client, err := l.Accept()
			if err != nil {
				return nil // the test has ended
			}
			server, err := net.Dial("tcp", backend)
			if err != nil {
				return err
			}
			context.AfterFunc(ctx, func() { _ = client.Close(); _ = server.Close() })
			both.Go(func() {
				defer server.Close()
				b := make([]byte, 64<<10)
				for {
					size, err := client.Read(b)
					asked(b[:size])
					if _, writing := server.Write(b[:size]); err != nil || writing != nil {
						return
					}
				}
			})
			both.Go(func() {
				defer client.Close()
				b := make([]byte, 64<<10)
				for {
					size, err := server.Read(b)
					if err != nil {
						return
					}
					answered()
					if _, err := client.Write(b[:size]); err != nil {
						return
					}
				}
			})
		}
	})
	return l.Addr().String()
}

// TestAHeartbeatShowsWhatWasAcknowledgedBeforeItWasSent: it is answered by a heartbeat to Redis that
// was sent after it had come, however many ask at once.
func TestAHeartbeatShowsWhatWasAcknowledgedBeforeItWasSent(t *testing.T) {
	t.Parallel()
	r := startRedis(t)
	i := startIssuer(t, r.Address())
	n := startRelay(t, late(t, r.Address()), "relay-1", nil)
	var newest atomic.Uint64
	ctx, cancel := context.WithCancel(t.Context())
	var asking sync.WaitGroup
	defer asking.Wait()
	defer cancel()
	var answered atomic.Int64
	for k := range 8 {
		// A busy machine may cost the relay its connection to Redis, and with it those below.
		asking.Go(func() {
			for ctx.Err() == nil {
				conn, err := net.Dial("tcp", n.addr)
				if err != nil {
					t.Error(err)
					return
				}
				defer context.AfterFunc(ctx, func() { _ = conn.Close() })()
				for a := (asker{t, conn, bufio.NewReader(conn)}); ; answered.Add(1) {
					// So that they come at any moment of a heartbeat of the relay's.
					time.Sleep(time.Duration(k) * 4 * time.Millisecond)
					before := newest.Load()
					head, err := a.beat()
					if err != nil {
						break
					}
					if head < before {
						t.Errorf("a heartbeat shows the place %d, sent after %d was acknowledged", head, before)
					}
				}
				_ = conn.Close()
			}
		})
	}
	for k := 0; k < 200 || answered.Load() < 200; k++ {
		newest.Store(i.revoke(t, fmt.Sprintf("s%d", k)).Seq)
	}
}

// TestAHeartbeatIsNotAnsweredOverAnotherConnectionToRedis: when the relay has lost the one that a
// gate has settled on, the gate must settle again.
func TestAHeartbeatIsNotAnsweredOverAnotherConnectionToRedis(t *testing.T) {
	t.Parallel()
	r := startRedis(t)
	startIssuer(t, r.Address())
	n := startRelay(t, r.Address(), "relay-1", nil)
	a := ask(t, n.addr)
	if _, err := a.beat(); err != nil {
		t.Fatal(err)
	}
	if _, err := a.beat(); err != nil {
		t.Errorf("over one connection to Redis: %v", err)
	}
	client := redis.NewClient(&redis.Options{Addr: r.Address(), Protocol: 2, DisableIdentity: true})
	defer client.Close()
	must(t, client.Do(t.Context(), "CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes").Err())
	eventually.True(t, "a new connection is answered", func() bool {
		_, err := ask(t, n.addr).beat()
		return err == nil
	})
	if _, err := a.beat(); err == nil {
		t.Error("a heartbeat is answered over another connection than the one before")
	}
}

// TestARelayWithoutRedisKeepsNoGateFresh (S2), and what is revoked stays so (S3).
func TestARelayWithoutRedisKeepsNoGateFresh(t *testing.T) {
	t.Parallel()
	r := startRedis(t)
	i := startIssuer(t, r.Address())
	n := startRelay(t, r.Address(), "relay-1", nil)
	g := startGate(t, n.addr, "gate-1")
	i.revoke(t, "s1")
	eventually.True(t, "the gate denies", func() bool { return g.fresh() && g.denies("s1") })
	r.Stop()
	eventually.True(t, "the gate is stale", func() bool { return !g.fresh() })
	late := startGate(t, n.addr, "gate-2")
	eventually.True(t, "the relay has tried", func() bool { return n.log.Ready() != nil })
	if late.fresh() {
		t.Error("a gate that was started without Redis is fresh (S2)")
	}
	if !g.denies("s1") {
		t.Error("a stale gate allows what was revoked (S3)")
	}
	r.StartPlain()
	for _, g := range []gate{g, late} {
		eventually.True(t, "the gate is fresh again", func() bool { return g.fresh() && g.denies("s1") })
	}
}

// TestALogThatBeginsAnewIsLoadedThroughARelay, and what it lacks is mended (S4).
func TestALogThatBeginsAnewIsLoadedThroughARelay(t *testing.T) {
	t.Parallel()
	r := startRedis(t)
	i := startIssuer(t, r.Address())
	n := startRelay(t, r.Address(), "relay-1", nil)
	g := startGate(t, n.addr, "gate-1")
	i.revoke(t, "s1")
	eventually.True(t, "the gate denies", func() bool { return g.fresh() && g.denies("s1") })
	client := redis.NewClient(&redis.Options{Addr: r.Address(), Protocol: 2, DisableIdentity: true})
	defer client.Close()
	must(t, client.FlushAll(t.Context()).Err())
	i.revoke(t, "s2")
	eventually.True(t, "the gate denies what came after", func() bool { return g.denies("s2") })
	late := startGate(t, n.addr, "gate-2")
	eventually.True(t, "a new gate is fresh", late.fresh)
	if !late.denies("s1") || !late.denies("s2") {
		t.Error("a fresh gate lacks what was acknowledged (S4)")
	}
}

// held holds back what is appended, once it is told to.
type held struct {
	relay.Log
	on atomic.Bool
}

func (h *held) Tail(ctx context.Context, seq uint64, count int) ([]byte, error) {
	answer, err := h.Log.Tail(ctx, seq, count)
	if h.on.Load() {
		return nil, err
	}
	return answer, err
}

func (i issuer) applied(t testing.TB, r revocation.Receipt) bool {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	cancel() // one look
	a, err := i.Applied(ctx, r)
	must(t, err)
	return a.All() && a.Total > 0
}

// TestALogoutThatWaitsWaitsForGatesBelow: that all have applied it is said only when all of them
// have.
func TestALogoutThatWaitsWaitsForGatesBelow(t *testing.T) {
	t.Parallel()
	r := startRedis(t)
	i := startIssuer(t, r.Address())
	h := &held{}
	put := func(log relay.Log) relay.Log { h.Log = log; return h }
	n := startRelay(t, r.Address(), "relay-1", put)
	g := startGate(t, n.addr, "gate-1")
	eventually.True(t, "the gate is fresh", g.fresh)
	receipt := i.revoke(t, "s1")
	if i.applied(t, receipt) {
		t.Error("said of a relay that has just begun, whose gates of before nobody knows")
	}
	eventually.True(t, "all have applied it", func() bool { return i.applied(t, receipt) })
	if !g.denies("s1") {
		t.Error("said before the gate below denies")
	}
	h.on.Store(true)
	behind := i.revoke(t, "s2")
	eventually.True(t, "the relay itself has applied it", func() bool {
		return n.log.Check(session("s2")).Revoked
	})
	for range 20 { // over several heartbeats of the relay's
		if i.applied(t, behind) && !g.denies("s2") {
			t.Fatal("said while the gate below allows")
		}
		time.Sleep(10 * time.Millisecond)
	}
	h.on.Store(false)
	eventually.True(t, "all have applied that too", func() bool { return i.applied(t, behind) })
	if !g.denies("s2") {
		t.Error("said before the gate below denies")
	}
	// A relay that is started again, as its gate goes on answering.
	n.stop()
	startRelay(t, r.Address(), "relay-1", nil)
	again := i.revoke(t, "s3")
	for range 20 {
		if i.applied(t, again) && g.fresh() && !g.denies("s3") {
			t.Fatal("said while a gate allows that asked the relay in its former life")
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// TestAGateIsFoundByItsRelaysName among those behind.
func TestARelayIsNamedAmongTheGatesBehind(t *testing.T) {
	t.Parallel()
	r := startRedis(t)
	i := startIssuer(t, r.Address())
	startRelay(t, r.Address(), "relay-1", nil)
	receipt := i.revoke(t, "s1")
	eventually.True(t, "the relay has a line", func() bool {
		lines, err := i.Gates(t.Context())
		return err == nil && len(lines) == 1 && lines[0].Name == "relay-1"
	})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if a, err := i.Applied(ctx, receipt); err != nil || len(a.Behind) != 1 || a.Behind[0] != "relay-1" {
		t.Errorf("got %+v, %v", a, err)
	}
}

// entering counts the pages that are asked for, which may take as long as a test does.
type entering struct {
	relay.Log
	pages atomic.Int64
}

func (e *entering) Page(ctx context.Context, from uint64, count int) ([]byte, error) {
	e.pages.Add(1)
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 20*time.Second)
	defer cancel()
	return e.Log.Page(ctx, from, count)
}

// TestGatesThatLoadAtOnceShareWhatTheyWaitFor: after an outage all gates of a relay load the log,
// and there are few places to read it from Redis. Had each its own read, those at the end would wait
// longer than a gate does, lose their connections, and wait again.
func TestGatesThatLoadAtOnceShareWhatTheyWaitFor(t *testing.T) {
	t.Parallel()
	r := startRedis(t)
	startIssuer(t, r.Address()).revoke(t, "s1")
	const gates, page = 100, "1999" // of which nobody else asks for as many entries
	var reads atomic.Int64
	var holding atomic.Pointer[chan struct{}] // nil: answers come at once
	redis := proxy(t, r.Address(), func(asked []byte) {
		reads.Add(int64(bytes.Count(asked, []byte("\r\n"+page+"\r\n"))))
	}, func() {
		if h := holding.Load(); h != nil {
			<-*h
		}
	})
	e := &entering{}
	n := startRelay(t, redis, "relay-1", func(log relay.Log) relay.Log { e.Log = log; return e })
	eventually.True(t, "the relay is ready", func() bool { return n.log.Ready() == nil })
	open := make(chan struct{})
	holding.Store(&open)
	answers := make(chan string, gates)
	for range gates {
		c := dial(t, n.addr)
		started(t, func(context.Context) error {
			answers <- say(t, c, "XRANGE", logKey, "1-0", "+", "COUNT", page)
			return nil
		})
	}
	eventually.True(t, "all ask", func() bool { return e.pages.Load() == gates })
	close(open)
	for range gates {
		if line := <-answers; !strings.HasPrefix(line, "*") {
			t.Errorf("a gate that loads: got %q", line)
		}
	}
	if n := reads.Load(); n == 0 || n > gates/2 {
		t.Errorf("Redis was asked %d times for a page that %d gates waited for", n, gates)
	}
}
