package daemon_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"

	"github.com/sallyport/sallyport/internal/daemon"
	"github.com/sallyport/sallyport/internal/eventually"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// process is a Run under test.
type process struct {
	t    *testing.T
	url  string
	stop context.CancelFunc
	done chan error
	log  *eventually.Buffer
}

func run(t *testing.T, o daemon.Options, parts ...daemon.Part) *process {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &process{t: t, url: "http://" + l.Addr().String(), done: make(chan error, 1), log: &eventually.Buffer{}}
	o.AdminListener = l
	if o.Name == "" {
		o.Name, o.Version = "gate", "1.2.3"
	}
	if o.Logger == nil {
		o.Logger = daemon.NewLogger(p.log, daemon.LogConfig{Level: "debug", Format: "json"})
	}
	ctx, stop := context.WithCancel(context.Background())
	p.stop = stop
	t.Cleanup(stop)
	go func() { p.done <- daemon.Run(ctx, o, parts...) }()
	return p
}

// end waits for Run to return.
func (p *process) end() error {
	p.t.Helper()
	select {
	case err := <-p.done:
		return err
	case <-time.After(20 * time.Second):
		p.t.Fatalf("Run did not return; log:\n%s", p.log)
		return nil
	}
}

var client = &http.Client{
	Transport: &http.Transport{DisableKeepAlives: true}, Timeout: 10 * time.Second,
}

func (p *process) request(method, path string) (int, string, http.Header) {
	p.t.Helper()
	r, err := http.NewRequest(method, p.url+path, nil)
	if err != nil {
		p.t.Fatal(err)
	}
	answer, err := client.Do(r)
	if err != nil {
		p.t.Fatal(err)
	}
	defer answer.Body.Close()
	b, err := io.ReadAll(answer.Body)
	if err != nil {
		p.t.Fatal(err)
	}
	return answer.StatusCode, string(b), answer.Header
}

func (p *process) get(path string) (int, string) {
	p.t.Helper()
	status, body, _ := p.request(http.MethodGet, path)
	return status, body
}

func (p *process) ready() bool {
	status, _ := p.get("/readyz")
	return status == http.StatusOK
}

func forever(ctx context.Context) error { <-ctx.Done(); return ctx.Err() }

func TestReadyOnlyWhileEveryPartSaysSo(t *testing.T) {
	var mu sync.Mutex
	why := map[string]error{
		"keys": errors.New("no key set yet"), "log": errors.New("no complete copy"),
	}
	check := func(name string) func() error {
		return func() error { mu.Lock(); defer mu.Unlock(); return why[name] }
	}
	p := run(t, daemon.Options{},
		daemon.Part{Name: "keys", Run: forever, Ready: check("keys")},
		daemon.Part{Name: "log", Run: forever, Ready: check("log")},
		daemon.Part{Name: "server", Run: forever},
	)
	steps := []struct {
		settle string
		status int
		body   string
	}{
		{"", 503, `{"ready":false,"waiting":{"keys":"no key set yet","log":"no complete copy"}}`},
		{"keys", 503, `{"ready":false,"waiting":{"log":"no complete copy"}}`},
		{"log", 200, `{"ready":true}`},
	}
	for _, s := range steps {
		mu.Lock()
		delete(why, s.settle)
		mu.Unlock()
		eventually.True(t, "/readyz says "+s.body, func() bool {
			status, body := p.get("/readyz")
			return status == s.status && body == s.body+"\n"
		})
	}
	p.stop()
	if err := p.end(); err != nil {
		t.Error(err)
	}
}

func TestACheckThatPanicsIsNotReady(t *testing.T) {
	p := run(t, daemon.Options{},
		daemon.Part{Name: "keys", Run: forever, Ready: func() error { panic("canary") }})
	eventually.True(t, "the process has started", func() bool {
		_, body := p.get("/readyz")
		return body == `{"ready":false,"waiting":{"keys":"its check has panicked"}}`+"\n"
	})
	p.stop()
	if err := p.end(); err != nil {
		t.Error(err)
	}
}

func TestStoppingIsNotReadyThenDrainsThenStopsTheLastPartFirst(t *testing.T) {
	var p *process
	var mu sync.Mutex
	var events []string
	note := func(e string) { mu.Lock(); defer mu.Unlock(); events = append(events, e) }
	started := make(chan struct{})
	part := func(name string) daemon.Part {
		return daemon.Part{
			Name: name,
			Run: func(ctx context.Context) error {
				<-ctx.Done()
				note("stop " + name)
				return nil
			},
			Drain: func(ctx context.Context) {
				<-started
				if _, deadline := ctx.Deadline(); !deadline {
					note("no deadline")
				}
				status, body := p.get("/readyz")
				if status != 503 || !strings.Contains(body, `"process":"stopping"`) {
					note("ready while draining: " + body)
				}
				if status, _ := p.get("/livez"); status != 200 {
					note("not live while draining")
				}
				note("drain " + name)
			},
		}
	}
	p = run(t, daemon.Options{}, part("redis"), part("log"), part("server"))
	close(started)
	eventually.True(t, "ready", p.ready)
	p.stop()
	if err := p.end(); err != nil {
		t.Error(err)
	}
	want := "drain server, drain log, drain redis, stop server, stop log, stop redis"
	if got := strings.Join(events, ", "); got != want {
		t.Errorf("%s\nwant %s", got, want)
	}
}

// broken is a map that nobody made.
var broken map[string]int

func TestAPartThatEndsTooEarlyStopsTheProcess(t *testing.T) {
	cases := map[string]struct {
		run  func(context.Context) error
		want string
	}{
		"fails": {
			func(context.Context) error { return errors.New("port taken") },
			"daemon: part server: port taken",
		},
		"returns": {
			func(context.Context) error { return nil },
			"daemon: part server: expected it to run until told to stop, but it returned",
		},
		"panics": {
			func(context.Context) error { panic(errors.New("canary")) },
			"daemon: part server: panic: *errors.errorString\n",
		},
		"crashes": {
			func(context.Context) error { broken["a"] = 1; return nil },
			"daemon: part server: panic: assignment to entry in nil map\n",
		},
		"is cancelled by nobody": {
			func(context.Context) error { return context.Canceled },
			"daemon: part server: context canceled",
		},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			stopped := false
			p := run(t, daemon.Options{}, daemon.Part{
				Name: "redis",
				Run:  func(ctx context.Context) error { <-ctx.Done(); stopped = true; return nil },
			}, daemon.Part{Name: "server", Run: c.run})
			err := p.end()
			if err == nil || !strings.HasPrefix(err.Error(), c.want) {
				t.Errorf("Run returned %v, want %s", err, c.want)
			}
			if !stopped {
				t.Error("the other part was not stopped")
			}
			if err != nil && strings.Contains(err.Error()+p.log.String(), "canary") {
				t.Errorf("the panic's value was shown: %v\n%s", err, p.log)
			}
		})
	}
}

func TestAPartThatStopsWithAnErrorIsReported(t *testing.T) {
	p := run(t, daemon.Options{}, daemon.Part{
		Name: "log",
		Run:  func(ctx context.Context) error { <-ctx.Done(); return errors.New("not flushed") },
	})
	eventually.True(t, "ready", p.ready)
	p.stop()
	if err := p.end(); err == nil || err.Error() != "daemon: part log: stopping: not flushed" {
		t.Errorf("got %v", err)
	}
}

func TestAPartMayEndByBeingDrained(t *testing.T) {
	drained := make(chan struct{})
	p := run(t, daemon.Options{}, daemon.Part{
		Name:  "server",
		Run:   func(context.Context) error { <-drained; return http.ErrServerClosed },
		Drain: func(context.Context) { close(drained) },
	})
	eventually.True(t, "ready", p.ready)
	p.stop()
	if err := p.end(); err != nil {
		t.Errorf("got %v", err)
	}
}

func TestADrainThatPanicsDoesNotKeepTheOthersFromDraining(t *testing.T) {
	drained := false
	p := run(t, daemon.Options{},
		daemon.Part{Name: "log", Run: forever, Drain: func(context.Context) { drained = true }},
		daemon.Part{Name: "server", Run: forever, Drain: func(context.Context) { panic("canary") }},
	)
	eventually.True(t, "ready", p.ready)
	p.stop()
	if err := p.end(); err != nil || !drained {
		t.Errorf("drained %v, %v", drained, err)
	}
	if !strings.Contains(p.log.String(),
		`"msg":"draining failed","part":"server","error":"panic: string`) ||
		strings.Contains(p.log.String(), "canary") {
		t.Errorf("log:\n%s", p.log)
	}
}

func TestReloadOnHangup(t *testing.T) {
	var mu sync.Mutex
	var answers = []error{nil, errors.New("users.yaml:3:1: broken"), nil}
	calls := 0
	registry := prometheus.NewRegistry()
	p := run(t, daemon.Options{Registry: registry, Reload: func(context.Context) error {
		mu.Lock()
		defer mu.Unlock()
		calls++
		return answers[calls-1]
	}}, daemon.Part{Name: "server", Run: forever})
	eventually.True(t, "ready", p.ready)
	for i, want := range []string{
		`sallyport_reloads_total{result="ok"} 1`, `sallyport_reloads_total{result="failed"} 1`,
		`sallyport_reloads_total{result="ok"} 2`,
	} {
		if err := syscall.Kill(syscall.Getpid(), syscall.SIGHUP); err != nil {
			t.Fatal(err)
		}
		eventually.True(t, want, func() bool {
			_, body := p.get("/metrics")
			return strings.Contains(body, want)
		})
		gauge := "sallyport_reload_last_ok " + map[bool]string{true: "1", false: "0"}[answers[i] == nil]
		eventually.True(t, gauge,
			func() bool { _, body := p.get("/metrics"); return strings.Contains(body, gauge) })
		if !p.ready() {
			t.Error("not ready after a reload")
		}
	}
	p.stop()
	if err := p.end(); err != nil {
		t.Error(err)
	}
	if log := p.log.String(); !strings.Contains(log,
		`"msg":"reload failed: the old settings stay in force","error":"users.yaml:3:1: broken"`) {
		t.Errorf("log:\n%s", log)
	}
}

// TestAReloadSaysWhatHasChanged, or that nothing has: then whoever has edited a file has edited
// another one.
func TestAReloadSaysWhatHasChanged(t *testing.T) {
	var digest atomic.Value
	digest.Store("111111111111")
	next := make(chan string, 1)
	p := run(t, daemon.Options{
		InForce: func() map[string]string {
			return map[string]string{"policy": digest.Load().(string), "users": "abc"}
		},
		Reload: func(context.Context) error { digest.Store(<-next); return nil },
	}, daemon.Part{Name: "server", Run: forever})
	eventually.True(t, "ready", p.ready)
	hangup := func(then, want string) {
		t.Helper()
		next <- then
		if err := syscall.Kill(syscall.Getpid(), syscall.SIGHUP); err != nil {
			t.Fatal(err)
		}
		eventually.True(t, want, func() bool { return strings.Contains(p.log.String(), want) })
	}
	hangup("111111111111", `"msg":"reloaded: nothing has changed"`)
	hangup("222222222222", `"changed":["policy: 111111111111 -> 222222222222"]`)
	if status, body := p.get("/readyz"); status != 200 ||
		!strings.Contains(body, `"in_force":{"policy":"222222222222","users":"abc"}`) {
		t.Errorf("/readyz: %d %s", status, body)
	}
	if _, body := p.get("/metrics"); !strings.Contains(body,
		`sallyport_in_force_info{digest="222222222222",what="policy"} 1`) {
		t.Error("the metrics do not show the digest")
	}
	p.stop()
	if err := p.end(); err != nil {
		t.Error(err)
	}
}

// TestWhatEndsADaemonIsToldOnce: whoever prints the error of Run asks whether it stands in the log
// already.
func TestWhatEndsADaemonIsToldOnce(t *testing.T) {
	p := run(t, daemon.Options{},
		daemon.Part{Name: "log", Run: func(context.Context) error { return errors.New("a finding") }})
	err := p.end()
	if err == nil || !daemon.Told(err) || strings.Count(p.log.String(), "a finding") != 1 {
		t.Errorf("got %v, told: %v, and the log\n%s", err, daemon.Told(err), p.log.String())
	}
	if daemon.Told(errors.New("another")) {
		t.Error("an error that nobody has told of counts as told")
	}
}

func TestAReloadThatPanicsOrIsMissingChangesNothing(t *testing.T) {
	for name, reload := range map[string]func(context.Context) error{
		"panics": func(context.Context) error { panic("canary") }, "missing": nil,
	} {
		t.Run(name, func(t *testing.T) {
			p := run(t, daemon.Options{Reload: reload}, daemon.Part{Name: "server", Run: forever})
			eventually.True(t, "ready", p.ready)
			if err := syscall.Kill(syscall.Getpid(), syscall.SIGHUP); err != nil {
				t.Fatal(err)
			}
			eventually.True(t, "the log tells of it", func() bool {
				return strings.Contains(p.log.String(), "reload failed") ||
					strings.Contains(p.log.String(), "nothing to reload")
			})
			if !p.ready() {
				t.Error("not ready")
			}
			p.stop()
			if err := p.end(); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestAnAdminPortThatIsTakenIsAnError(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	err = daemon.Run(context.Background(),
		daemon.Options{Admin: daemon.Config{Listen: l.Addr().String()}},
		daemon.Part{Name: "server", Run: forever})
	if err == nil ||
		!strings.HasPrefix(err.Error(),
			"daemon: admin port: listen tcp "+l.Addr().String()+": bind: address already in use") {
		t.Errorf("got %v", err)
	}
	err = daemon.Run(context.Background(), daemon.Options{})
	if err == nil ||
		err.Error() != `daemon: admin: listen: expected host:port such as "127.0.0.1:9101", got ""` {
		t.Errorf("got %v", err)
	}
}

func TestLogsAreJSONLinesFromTheirLevelOn(t *testing.T) {
	var out bytes.Buffer
	log := daemon.NewLogger(&out, daemon.LogConfig{Level: "warn", Format: "json"})
	log.Info("no")
	log.Warn("yes", "n", 1)
	var line map[string]any
	if err := json.Unmarshal(out.Bytes(), &line); err != nil {
		t.Fatalf("%v in %q", err, out.String())
	}
	if line["msg"] != "yes" || line["level"] != "WARN" || line["n"] != 1.0 {
		t.Errorf("got %v", line)
	}
	out.Reset()
	daemon.NewLogger(&out, daemon.LogConfig{Level: "debug", Format: "text"}).Debug("yes")
	if !strings.Contains(out.String(), "level=DEBUG msg=yes") {
		t.Errorf("got %q", out.String())
	}
}

type stringer string

func (s stringer) String() string { return string(s) }

func TestLogsHoldNoCredentialWhoeverLogsIt(t *testing.T) {
	const canary = "eyJhbGciOiJFUzI1NiJ9.eyJzdWIiOiJjYW5hcnkifQ.c2lnbmF0dXJlLWNhbmFyeQ"
	for _, format := range []string{"json", "text"} {
		var out bytes.Buffer
		log := daemon.NewLogger(&out, daemon.LogConfig{Level: "debug", Format: format})
		log.Info("got "+canary, "a", canary, "err", errors.New("bad token "+canary), "s",
			stringer(canary), "b", []byte(canary), "many", []string{"x", canary}, "map",
			map[string][]string{"x": {canary}}, "request",
			&http.Request{Header: http.Header{"Cookie": {"session=hunter2"}}}, "header",
			http.Header{"X": {"hunter2"}}, "odd", func() {},
			slog.Group("g", "header", "Bearer "+canary))
		log.With("bound", canary).
			Debug("x", "password", "hunter2", "Authorization", "Basic aHVudGVyMg==", "refresh_token", 5)
		for _, bad := range []string{"c2lnbmF0dXJl", "hunter2", "aHVudGVyMg"} {
			if strings.Contains(out.String(), bad) {
				t.Errorf("%s log holds %s:\n%s", format, bad, out.String())
			}
		}
	}
}

// TestAnAdminPortThatWasHandedInIsClosedWhenNothingStarts: whoever tries again finds it free.
func TestAnAdminPortThatWasHandedInIsClosedWhenNothingStarts(t *testing.T) {
	for name, o := range map[string]daemon.Options{
		"a pattern that is none":   {Handlers: map[string]http.Handler{"{": http.NotFoundHandler()}},
		"a metric of another kind": {Registry: taken(t)},
	} {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		o.Name, o.AdminListener = "gate", l
		if err := daemon.Run(t.Context(), o); err == nil {
			t.Errorf("%s: Run has run", name)
		}
		if _, err := l.Accept(); !errors.Is(err, net.ErrClosed) {
			t.Errorf("%s: the port is open: %v", name, err)
		}
	}
}

// taken is a registry in which a metric of a daemon's has other labels already.
func taken(t *testing.T) *prometheus.Registry {
	t.Helper()
	r := prometheus.NewRegistry()
	if err := r.Register(prometheus.NewGaugeVec(prometheus.GaugeOpts{
		Name: "sallyport_reloads_total", Help: "another",
	}, []string{"other"})); err != nil {
		t.Fatal(err)
	}
	return r
}

// panicking is a listener whose Accept panics.
type panicking struct{ net.Listener }

func (panicking) Accept() (net.Conn, error) { panic("a secret") }

// TestAPanicOfTheAdminPortEndsRunAndNotTheProcess, which may be Envoy's.
func TestAPanicOfTheAdminPortEndsRunAndNotTheProcess(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	err = daemon.Run(t.Context(), daemon.Options{Name: "gate", AdminListener: panicking{l}})
	if !errors.Is(err, daemon.ErrPanic) {
		t.Errorf("got %v, want a panic", err)
	}
}
