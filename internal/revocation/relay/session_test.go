package relay_test

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"strings"
	"sync"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/sallyport/sallyport/internal/config"
	"github.com/sallyport/sallyport/internal/eventually"
	"github.com/sallyport/sallyport/internal/redisconn"
	"github.com/sallyport/sallyport/internal/revocation/redislog"
	"github.com/sallyport/sallyport/internal/revocation/relay"
)

// scripted is a relay's end of the log that answers as a test says.
type scripted struct {
	mu    sync.Mutex
	beat  redislog.Beat
	page  []byte
	lines map[int]string
	asked []string // the first line, at each heartbeat
}

func newScripted() *scripted {
	return &scripted{
		lines: map[int]string{},
		beat: redislog.Beat{
			Head: []any{"epoch", "1", "chain", "1", nil, nil, nil}, Time: []any{"1", "2"},
			Entry: []any{}, Connection: 1,
		},
	}
}

func (s *scripted) Beat(context.Context, uint64) (redislog.Beat, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.asked = append(s.asked, s.lines[1])
	return s.beat, nil
}

func (s *scripted) Tail(ctx context.Context, _ uint64, _ int) ([]byte, error) {
	<-ctx.Done()
	return nil, nil
}

func (s *scripted) Page(context.Context, uint64, int) ([]byte, error) { return s.page, nil }

func (s *scripted) Line(n int) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.lines[n]
}

func (s *scripted) SetLine(n int, text string, free bool) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if free && s.lines[n] != "" {
		return false
	}
	s.lines[n] = text
	return true
}

func names(t testing.TB) redislog.Names {
	t.Helper()
	// It is never run: its address is nobody's.
	r, err := redislog.NewRelay(connect(t, "127.0.0.1:1"), quick(), options(t, "names"))
	must(t, err)
	return r.Names()
}

// serve serves a log to whoever knows the password, and returns where, and its metrics.
func serve(t testing.TB, log relay.Log, password string) (string, *prometheus.Registry) {
	t.Helper()
	c := relay.DefaultConfig().Gates
	if password != "" {
		c.Password = config.NewSecret(password)
	}
	registry := prometheus.NewRegistry()
	s, err := relay.New(log, c, relay.Options{
		Names: names(t), Revocation: quick(), Registry: registry,
	})
	must(t, err)
	l, err := s.Listen("127.0.0.1:0")
	must(t, err)
	started(t, func(ctx context.Context) error { return s.Serve(ctx, l) })
	return l.Addr().String(), registry
}

// said sends commands and returns all that is answered before the connection ends, or is silent.
func said(t testing.TB, addr string, commands ...string) (answer string, ended bool) {
	t.Helper()
	c := dial(t, addr)
	defer c.Close()
	_, err := io.WriteString(c, strings.Join(commands, "")+command("PING"))
	must(t, err)
	var b strings.Builder
	r := bufio.NewReader(c)
	for {
		line, err := r.ReadString('\n')
		b.WriteString(line)
		if err != nil {
			return b.String(), true
		}
		if line == "+PONG\r\n" {
			return strings.TrimSuffix(b.String(), line), false
		}
	}
}

func TestNobodyIsAnsweredWithoutThePassword(t *testing.T) {
	t.Parallel()
	addr, registry := serve(t, newScripted(), "right")
	log := command("XRANGE", "{sallyport}:rev:log", "1-0", "+", "COUNT", "1")
	// The PING behind each is not answered either.
	for _, before := range []string{log, command("HELLO", "2"), command("MULTI"), ""} {
		c := dial(t, addr)
		_, err := io.WriteString(c, before+command("PING"))
		must(t, err)
		r := bufio.NewReader(c)
		for range strings.Count(before, "*") + 1 {
			if line, err := r.ReadString('\n'); err != nil || !strings.HasPrefix(line, "-NOAUTH") {
				t.Errorf("%q: got %q, %v", before, line, err)
			}
		}
	}
	for _, wrong := range []string{
		command("AUTH", "wrong"), command("AUTH", "gate", "wrong"), command("AUTH", "gate", ""),
		command("AUTH", "other", "right"), command("AUTH", "right"),
		command("HELLO", "2", "AUTH", "gate", "wrong"), command("HELLO", "2", "AUTH", "", "right"),
	} {
		answer, ended := said(t, addr, wrong, log, wrong, wrong)
		lines := strings.Split(answer, "\r\n")
		if !ended || len(lines) != 5 || !strings.HasPrefix(lines[0], "-WRONGPASS") ||
			!strings.HasPrefix(lines[1], "-NOAUTH") || !strings.HasPrefix(lines[3], "-WRONGPASS") {
			t.Errorf("%q: got %q", wrong, answer)
		}
	}
	if n := counted(t, registry, "password"); n != 3*7 {
		t.Errorf("%v wrong passwords are counted, want 21", n)
	}
	for _, right := range []string{
		command("AUTH", "gate", "right"), command("HELLO", "2", "AUTH", "gate", "right"),
	} {
		if answer, ended := said(t, addr, right); ended || strings.HasPrefix(answer, "-") {
			t.Errorf("%q: got %q", right, answer)
		}
	}
}

// counted returns how many connections were cut off for a reason.
func counted(t testing.TB, registry *prometheus.Registry, reason string) float64 {
	t.Helper()
	families, err := registry.Gather()
	must(t, err)
	for _, f := range families {
		for _, m := range f.GetMetric() {
			if f.GetName() == "sallyport_relay_refused_total" &&
				m.GetLabel()[0].GetValue() == reason {
				return m.GetCounter().GetValue()
			}
		}
	}
	t.Fatal("the metric is not there")
	return 0
}

// TestAGateSaysItsPassword as it says it to Redis, and is told of a wrong one as by Redis.
func TestAGateSaysItsPassword(t *testing.T) {
	t.Parallel()
	addr, _ := serve(t, newScripted(), "right")
	ask := func(password string) error {
		cfg := redisconn.DefaultConfig()
		cfg.Address, cfg.Username, cfg.Password = addr, "gate", config.NewSecret(password)
		c, err := redisconn.Open(cfg)
		must(t, err)
		defer c.Close()
		return c.Explain(c.Universal().Ping(t.Context()).Err())
	}
	if err := ask("right"); err != nil {
		t.Errorf("the right password: %v", err)
	}
	var setting *redisconn.SettingError
	if err := ask("wrong"); !errors.As(err, &setting) || strings.Contains(err.Error(), "wrong\"") {
		t.Errorf("the wrong password: %v", err)
	}
}

const (
	logKey  = "{sallyport}:rev:log"
	headKey = "{sallyport}:rev:head"
	lineKey = "{sallyport}:replica:1"
	life    = "600000"
)

// heartbeat is a gate's, at a place.
func heartbeat(place string) []string {
	return []string{
		command("MULTI"),
		command("GETRANGE", lineKey, "0", "2047"),
		command("SET", lineKey, "line", "PX", life),
		command("HMGET", headKey, "epoch", "seq", "chain", "first", "mending", "max_token_lifetime",
			"era"),
		command("TIME"),
		command("XRANGE", logKey, place, place),
		command("EXEC"),
	}
}

func TestACommandThatNoGateSendsEndsTheConnection(t *testing.T) {
	t.Parallel()
	addr, _ := serve(t, newScripted(), "")
	swapped := func(k int, with ...string) string {
		all := heartbeat("1-0")
		all[k] = command(with...)
		return strings.Join(all, "")
	}
	for name, commands := range map[string]string{
		"FLUSHALL":                     command("FLUSHALL"),
		"EVAL":                         command("EVAL", "return 1", "0"),
		"CONFIG":                       command("CONFIG", "GET", "*"),
		"XADD":                         command("XADD", logKey, "9-0", "e", "x"),
		"HMGET of the head alone":      command("HMGET", headKey, "epoch"),
		"a line without an end":        command("SET", lineKey, "line"),
		"a line that lives longer":     command("SET", lineKey, "line", "PX", "600001"),
		"a line that is too long":      command("SET", lineKey, strings.Repeat("x", 2049), "PX", life),
		"no line":                      command("SET", lineKey, "", "PX", life),
		"more of a line":               command("GETRANGE", lineKey, "0", "-1"),
		"another key to read":          command("XRANGE", "{tag}:session", "1-0", "+", "COUNT", "1"),
		"no bound":                     command("XRANGE", logKey, "1-0", "+"),
		"too large a page":             command("XRANGE", logKey, "1-0", "+", "COUNT", "2001"),
		"an empty page":                command("XRANGE", logKey, "1-0", "+", "COUNT", "0"),
		"backwards":                    command("XREVRANGE", logKey, "+", "-", "COUNT", "1"),
		"another id":                   command("XRANGE", logKey, "1-1", "+", "COUNT", "1"),
		"a read that waits for ever":   command("XREAD", "COUNT", "1", "BLOCK", "0", "STREAMS", logKey, "1-0"),
		"a read that waits for long":   command("XREAD", "COUNT", "1", "BLOCK", "10001", "STREAMS", logKey, "1-0"),
		"a read of another key":        command("XREAD", "COUNT", "1", "BLOCK", "1", "STREAMS", headKey, "1-0"),
		"a read from the newest":       command("XREAD", "COUNT", "1", "BLOCK", "1", "STREAMS", logKey, "$"),
		"WAIT for nothing":             command("WAIT", "0", "100"),
		"EXEC alone":                   command("EXEC"),
		"a heartbeat that reads alone": swapped(2, "GETRANGE", lineKey, "0", "2047"),
		"a heartbeat of two lines":     swapped(2, "SET", "{sallyport}:replica:2", "line", "PX", life),
		"a heartbeat with another key": swapped(2, "SET", headKey, "line", "PX", life),
		"a heartbeat with NX":          swapped(2, "SET", lineKey, "line", "NX", "PX", life),
		"a heartbeat of another head":  swapped(3, "HMGET", headKey, "epoch"),
		"a heartbeat of a range":       swapped(5, "XRANGE", logKey, "1-0", "2-0"),
		"a heartbeat with DISCARD":     swapped(6, "DISCARD"),
		"inline":                       "FLUSHALL\r\n",
	} {
		answer, ended := said(t, addr, commands)
		if !ended || !strings.Contains(answer, "-ERR") {
			t.Errorf("%s: got %q, ended %v", name, answer, ended)
		}
	}
	if answer, ended := said(t, addr, command("HELLO", "3")); ended ||
		!strings.HasPrefix(answer, "-NOPROTO") {
		t.Errorf("RESP3: got %q", answer)
	}
	// Of these a gate makes nothing more than of a user who may not.
	for _, words := range []string{
		command("GETRANGE", "{sallyport}:replica:10", "0", "2047"),
		command("GETRANGE", "{sallyport}:replica:0", "0", "2047"),
		command("GETRANGE", "{sallyport}:replica:01", "0", "2047"),
		command("GETRANGE", headKey, "0", "2047"),
		command("SET", "{sallyport}:replica:10", "line", "PX", life),
		command("SET", headKey, "line", "NX", "PX", life),
	} {
		if answer, ended := said(t, addr, words); ended || !strings.HasPrefix(answer, "-NOPERM") {
			t.Errorf("%q: got %q", words, answer)
		}
	}
}

func TestAGatesLineIsKeptForIt(t *testing.T) {
	t.Parallel()
	addr, _ := serve(t, newScripted(), "")
	answer, ended := said(t, addr,
		command("GETRANGE", lineKey, "0", "2047"),
		command("SET", lineKey, "first", "NX", "PX", life),
		command("SET", lineKey, "second", "NX", "PX", life),
		command("GETRANGE", lineKey, "0", "2047"),
		command("SET", lineKey, "third", "PX", life),
		command("GETRANGE", lineKey, "0", "2047"),
	)
	want := "$0\r\n\r\n+OK\r\n$-1\r\n$5\r\nfirst\r\n+OK\r\n$5\r\nthird\r\n"
	if ended || answer != want {
		t.Errorf("got %q, want %q", answer, want)
	}
}

// TestAnswersOfTwoConnectionsToRedisAreNeverMixed: a gate settles on a connection, and must not take
// another one for it.
func TestAnswersOfTwoConnectionsToRedisAreNeverMixed(t *testing.T) {
	t.Parallel()
	log := newScripted()
	addr, _ := serve(t, log, "")
	c := dial(t, addr)
	r := bufio.NewReader(c)
	all := strings.Join(heartbeat("1-0"), "") + command("WAIT", "0", "100")
	for range 2 {
		_, err := io.WriteString(c, all)
		must(t, err)
		for line := ""; line != ":0\r\n"; {
			if line, err = r.ReadString('\n'); err != nil {
				t.Fatal(err)
			}
		}
	}
	log.mu.Lock()
	log.beat.Connection = 2
	log.mu.Unlock()
	_, err := io.WriteString(c, all)
	must(t, err)
	rest, err := io.ReadAll(r)
	if err != nil || strings.Contains(string(rest), "*5") {
		t.Errorf("a heartbeat over another connection is answered: %q, %v", rest, err)
	}
}

// TestAHeartbeatWritesTheGatesLineFirst: a logout that waits for all gates must wait for this one
// before it can be fresh. The answer has the line of before.
func TestAHeartbeatWritesTheGatesLineFirst(t *testing.T) {
	t.Parallel()
	log := newScripted()
	addr, _ := serve(t, log, "")
	all := append(heartbeat("1-0"), command("WAIT", "0", "100"))
	for _, before := range []string{"$0\r\n\r\n+OK", "$4\r\nline\r\n+OK"} {
		if answer, ended := said(t, addr, all...); ended || !strings.Contains(answer, before) {
			t.Errorf("got %q, want %q in it", answer, before)
		}
	}
	log.mu.Lock()
	defer log.mu.Unlock()
	if len(log.asked) != 2 || log.asked[0] != "line" {
		t.Errorf("the line at each heartbeat was %q", log.asked)
	}
}

// TestAGateThatDoesNotReadIsCutOff, so that nothing is kept for it.
func TestAGateThatDoesNotReadIsCutOff(t *testing.T) {
	t.Parallel()
	log := newScripted()
	log.page = make([]byte, 64<<20) // more than any socket takes
	addr, registry := serve(t, log, "")
	c := dial(t, addr)
	_, err := io.WriteString(c, command("XRANGE", logKey, "1-0", "+", "COUNT", "2000"))
	must(t, err)
	eventually.True(t, "it is connected", func() bool { return connections(t, registry) == 1 })
	eventually.True(t, "it is cut off", func() bool { return connections(t, registry) == 0 })
}

// TestWhoDoesNotGreetIsCutOff: a connection costs nothing without a password.
func TestWhoDoesNotGreetIsCutOff(t *testing.T) {
	t.Parallel()
	addr, registry := serve(t, newScripted(), "right")
	for _, beginning := range []string{"", "*", "*2\r\n$4\r\nAU", command("PING")} {
		c := dial(t, addr)
		_, err := io.WriteString(c, beginning)
		must(t, err)
		if _, err := io.Copy(io.Discard, c); err != nil && !errors.Is(err, net.ErrClosed) {
			t.Errorf("%q: got %v, want the end of the connection", beginning, err)
		}
	}
	eventually.True(t, "nobody is connected", func() bool { return connections(t, registry) == 0 })
}

// connections returns how many there are, once one has been.
func connections(t testing.TB, registry *prometheus.Registry) float64 {
	t.Helper()
	families, err := registry.Gather()
	must(t, err)
	for _, f := range families {
		if f.GetName() == "sallyport_relay_connections" {
			return f.GetMetric()[0].GetGauge().GetValue()
		}
	}
	t.Fatal("the metric is not there")
	return 0
}
