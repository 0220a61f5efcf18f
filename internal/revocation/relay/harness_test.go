package relay_test

import (
	"context"
	"log/slog"
	"net"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/sallyport/sallyport/internal/config"
	"github.com/sallyport/sallyport/internal/eventually"
	"github.com/sallyport/sallyport/internal/redisconn"
	"github.com/sallyport/sallyport/internal/redisconn/redistest"
	"github.com/sallyport/sallyport/internal/revocation"
	"github.com/sallyport/sallyport/internal/revocation/redislog"
	"github.com/sallyport/sallyport/internal/revocation/relay"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const iss = "https://issuer.example"

// quick are settings with every time shortened alike.
func quick() redislog.Config {
	cfg := redislog.DefaultConfig()
	cfg.Heartbeat, cfg.Settle = 50*time.Millisecond, 250*time.Millisecond
	cfg.MaxStaleness, cfg.AppendTimeout, cfg.MaxGates = 3*time.Second, 10*time.Second, 9
	return cfg
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func startRedis(t testing.TB) *redistest.Server {
	t.Helper()
	s := redistest.NewServer(t)
	s.StartPlain()
	return s
}

func connect(t testing.TB, addr string) *redisconn.Client {
	t.Helper()
	cfg := redisconn.DefaultConfig()
	cfg.Address, cfg.Checks = addr, redisconn.ChecksWarn
	cfg.Username, cfg.Password = "", config.Secret{}
	c, err := redisconn.Open(cfg)
	must(t, err)
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// started runs something until stop is called, or the test ends.
func started(t testing.TB, run func(context.Context) error) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := run(ctx); err != nil {
			t.Errorf("run: %v", err)
		}
	}()
	stop = func() { cancel(); <-done }
	t.Cleanup(stop)
	return stop
}

func options(t testing.TB, name string) redislog.Options {
	o := redislog.Options{Name: name, Version: "test"}
	if testing.Verbose() {
		o.Logger = slog.New(slog.NewTextHandler(t.Output(), nil)).With("name", name)
	}
	return o
}

type issuer struct{ *redislog.Issuer }

func startIssuer(t testing.TB, addr string) issuer {
	t.Helper()
	i, err := redislog.NewIssuer(connect(t, addr), quick(), options(t, "issuer-1"))
	must(t, err)
	started(t, i.Run)
	eventually.True(t, "the issuer is ready", func() bool { return i.Ready() == nil })
	return issuer{i}
}

func (i issuer) revoke(t testing.TB, session string) revocation.Receipt {
	t.Helper()
	r, err := i.Append(t.Context(), []revocation.Request{{
		Kind: revocation.KindSID, Issuer: iss, Value: session, Reason: "logout", Actor: "test",
	}})
	must(t, err)
	return r
}

func session(value string) *revocation.Facts {
	return &revocation.Facts{Issuer: iss, SessionID: value, TokenID: "jti-" + value, Ours: true}
}

type gate struct {
	*redislog.Gate
	stop func()
}

func startGate(t testing.TB, addr, name string) gate {
	t.Helper()
	g, err := redislog.NewGate(connect(t, addr), quick(), options(t, name))
	must(t, err)
	return gate{g, started(t, g.Run)}
}

func (g gate) fresh() bool              { return g.Freshness(g.Instant()).Fresh }
func (g gate) denies(value string) bool { return g.Check(session(value)).Revoked }

// between is what a test may put between a relay's server and its end of the log.
type between func(relay.Log) relay.Log

// node is a relay in this process.
type node struct {
	log    *redislog.Relay
	server *relay.Server
	addr   string
	stop   func()
}

// startRelay starts a relay at an address of its own.
func startRelay(t testing.TB, redis, name string, put between) *node {
	t.Helper()
	return startRelayAt(t, redis, name, "127.0.0.1:0", put)
}

func startRelayAt(t testing.TB, redis, name, at string, put between) *node {
	t.Helper()
	n := &node{}
	var err error
	n.log, err = redislog.NewRelay(connect(t, redis), quick(), options(t, name))
	must(t, err)
	var log relay.Log = n.log
	if put != nil {
		log = put(log)
	}
	c := relay.DefaultConfig().Gates
	n.server, err = relay.New(log, c, relay.Options{
		Names: n.log.Names(), Revocation: quick(), Logger: options(t, name).Logger,
	})
	must(t, err)
	l, err := n.server.Listen(at)
	must(t, err)
	n.addr = l.Addr().String()
	var stopped atomic.Bool
	stopLog := started(t, n.log.Run)
	stopServer := started(t, func(ctx context.Context) error { return n.server.Serve(ctx, l) })
	n.stop = func() {
		if !stopped.Swap(true) {
			stopServer()
			stopLog()
		}
	}
	return n
}

func dial(t testing.TB, addr string) net.Conn {
	t.Helper()
	c, err := net.Dial("tcp", addr)
	must(t, err)
	must(t, c.SetDeadline(time.Now().Add(30*time.Second)))
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// command returns a command's bytes.
func command(words ...string) string {
	b := "*" + strconv.Itoa(len(words)) + "\r\n"
	for _, w := range words {
		b += "$" + strconv.Itoa(len(w)) + "\r\n" + w + "\r\n"
	}
	return b
}
