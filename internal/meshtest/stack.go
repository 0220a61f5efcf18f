package meshtest

import (
	"flag"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sallyport/sallyport/internal/eventually"
	"github.com/sallyport/sallyport/internal/mesh"
)

var inProcess = flag.Bool("in-process", false,
	"the gate is inside Envoy, as its dynamic module, instead of beside it")

// GateInside puts the gate into Envoy when the tests are run with -in-process.
func GateInside(t testing.TB, o *mesh.Options) {
	t.Helper()
	if *inProcess && o.Module == "" {
		o.Module, o.Gates = Module(t), 1
	}
}

// Options say what a stack consists of. The zero value is one issuer, one gate, Envoy and a real
// redis-server.
type Options struct {
	Gates   int // 0 means 1
	Issuers int // 0 means 1
	// Embedded takes miniredis instead of a redis-server. It loses everything when it ends, and has
	// no WAIT to speak of.
	Embedded bool
	// Mesh, when set, may change any option of the mesh before it starts.
	Mesh func(*mesh.Options)
}

// Stack is a mesh under test. Its own children, endpoints and files are those of the Mesh.
type Stack struct {
	*mesh.Mesh
	Dir  string // the mesh's folder: configuration, keys, logs
	HTTP *http.Client

	t    testing.TB
	seen *seen
}

// seen is what has reached the upstream.
type seen struct {
	mu       sync.Mutex
	requests []mesh.Received
}

// Start brings up a stack that lasts until the test ends. It fails the test when it cannot.
func Start(t testing.TB, o Options) *Stack {
	t.Helper()
	s := &Stack{
		Dir: t.TempDir(),
		HTTP: &http.Client{
			Timeout:   30 * time.Second,
			Transport: &http.Transport{MaxIdleConnsPerHost: 64},
			CheckRedirect: func(*http.Request, []*http.Request) error {
				return http.ErrUseLastResponse // a redirect is an answer to be judged
			},
		},
		t: t, seen: &seen{},
	}
	options := mesh.Options{
		Dir: s.Dir, Binaries: Binaries(t, false), Envoy: Envoy(t),
		Gates: o.Gates, Issuers: o.Issuers, Upstream: s.recorder(mesh.Echo),
	}
	if !o.Embedded {
		options.RedisServer = RedisServer(t)
	}
	if o.Mesh != nil {
		o.Mesh(&options)
	}
	GateInside(t, &options)
	m, err := mesh.Start(t.Context(), options)
	if err != nil {
		t.Fatal(err)
	}
	s.Mesh = m
	t.Cleanup(s.end)
	return s
}

// For returns the same stack for use in a subtest: what fails there, fails that.
func (s *Stack) For(t testing.TB) *Stack {
	other := *s
	other.t = t
	return &other
}

// end stops the stack; a child that did not exit as it should fails the test.
func (s *Stack) end() {
	s.HTTP.CloseIdleConnections()
	if err := s.Stop(); err != nil {
		s.t.Errorf("the mesh did not end well: %v", err)
	}
	if s.t.Failed() {
		for _, c := range s.Children() {
			s.t.Logf("the log of %s:\n%s", c.Name(), lastLines(s.t, c.LogFile(), 60))
		}
	}
}

func lastLines(t testing.TB, path string, n int) string {
	content, err := os.ReadFile(path)
	if err != nil {
		t.Logf("meshtest: %v", err)
	}
	lines := strings.SplitAfter(string(content), "\n")
	return strings.Join(lines[max(0, len(lines)-n):], "")
}

// recorder notes what the upstream gets to see. It hands on a request only after it is noted.
func (s *Stack) recorder(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.seen.mu.Lock()
		s.seen.requests = append(s.seen.requests, mesh.Receive(r))
		s.seen.mu.Unlock()
		next.ServeHTTP(w, r)
	})
}

// Seen returns all requests that have reached the upstream so far, or since the last Forget.
func (s *Stack) Seen() []mesh.Received {
	s.seen.mu.Lock()
	defer s.seen.mu.Unlock()
	return slices.Clone(s.seen.requests)
}

// Forget empties the list of requests that have reached the upstream.
func (s *Stack) Forget() {
	s.seen.mu.Lock()
	defer s.seen.mu.Unlock()
	s.seen.requests = nil
}

// Eventually is eventually.True for the stack's test.
func (s *Stack) Eventually(what string, condition func() bool) {
	s.t.Helper()
	eventually.True(s.t, what, condition)
}
