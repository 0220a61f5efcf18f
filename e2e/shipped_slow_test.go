package e2e_test

import (
	"context"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sallyport/sallyport/internal/eventually"
	"github.com/sallyport/sallyport/internal/mesh"
	"github.com/sallyport/sallyport/internal/meshtest"
)

// crowd sends requests at once that are never over, a hundred on each of a number of HTTP/2
// connections, until the test ends. It returns when Envoy has all of them.
func crowd(t *testing.T, s *meshtest.Stack, connections int, method, path string, edits ...edit) {
	t.Helper()
	const streams = 100
	before := active(t, s)
	ctx, cancel := context.WithCancel(t.Context())
	var wait sync.WaitGroup
	t.Cleanup(func() { cancel(); wait.Wait() })
	// So many at once may find no place for a moment, while connections are being made, or no gate that
	// answers in time: those are sent again until all are there.
	var there atomic.Bool
	for range connections {
		http2 := &http.Transport{Protocols: new(http.Protocols)}
		http2.Protocols.SetUnencryptedHTTP2(true)
		t.Cleanup(http2.CloseIdleConnections)
		for range streams {
			wait.Go(func() {
				for again := true; again && ctx.Err() == nil; again = !there.Load() {
					unfinished(ctx, http2, method, s.Endpoints().Gateway+path, edits)
				}
			})
		}
	}
	eventually.Within(t, time.Minute, "Envoy to have the crowd's requests", func() bool {
		return active(t, s) >= before+connections*streams
	})
	there.Store(true)
}

// unfinished sends a request; one with a body sends the beginning of it.
func unfinished(ctx context.Context, by http.RoundTripper, method, url string, edits []edit) {
	var body io.Reader
	if method == http.MethodPost {
		reader, writer := io.Pipe()
		defer writer.Close()
		go func() { _, _ = writer.Write([]byte("{")) }()
		body = reader
	}
	r, err := http.NewRequestWithContext(ctx, method, url, body)
	if err != nil {
		return
	}
	r.Header.Set("Content-Type", "application/json")
	for _, edit := range edits {
		edit(r)
	}
	response, err := by.RoundTrip(r)
	if err != nil {
		return // the end of the test, mostly
	}
	_, _ = io.Copy(io.Discard, response.Body)
	_ = response.Body.Close()
}

// active is how many requests Envoy has under way.
func active(t *testing.T, s *meshtest.Stack) int {
	t.Helper()
	return stat(t, s, "http.gateway.downstream_rq_active")
}

// stat returns one of Envoy's figures, which must be there.
func stat(t *testing.T, s *meshtest.Stack, name string) int {
	t.Helper()
	admin := newCaller(t, s.Endpoints().EnvoyAdmin)
	a := admin.get(t, "/stats?format=json&filter=^"+strings.ReplaceAll(name, ".", `\.`)+"$")
	var got struct {
		Stats []struct {
			Name  string `json:"name"`
			Value int    `json:"value"`
		} `json:"stats"`
	}
	if err := json.Unmarshal(a.body, &got); err != nil {
		t.Fatalf("Envoy's figures: %v\n%s", err, a.body)
	}
	for _, one := range got.Stats {
		if one.Name == name {
			return one.Value
		}
	}
	t.Fatalf("Envoy has no figure %s", name)
	return 0
}

// sending sends one request.
type sending func(c *caller) (answer, error)

func get(path string, edits ...edit) sending {
	return func(c *caller) (answer, error) { return c.try("GET", path, nil, edits...) }
}

func post(path string, edits ...edit) sending {
	return func(c *caller) (answer, error) { return c.try("POST", path, []byte("hello"), edits...) }
}

// honest sends requests one after the other, each of which must be answered with 200 within ten
// seconds, and returns the time that all but the slowest in a hundred took at most.
func honest(t *testing.T, n int, send sending, gateway string) time.Duration {
	t.Helper()
	c := newCaller(t, gateway)
	c.http.Timeout = 10 * time.Second
	var took []time.Duration
	lost := 0
	for range n {
		begun := time.Now()
		a, err := send(c)
		took = append(took, time.Since(begun))
		if err != nil || a.status != http.StatusOK {
			t.Errorf("%d %s %v", a.status, a.body, err)
			if lost++; lost == 3 {
				t.Fatalf("given up after %d of %d", len(took), n)
			}
		}
	}
	slices.Sort(took)
	return took[(n*99-1)/100]
}

// TestSlowBodiesKeepNobodyOut through the shipped file: 1,600 requests whose bodies do not come
// are no reason for anybody else to wait.
func TestSlowBodiesKeepNobodyOut(t *testing.T) {
	s := meshtest.Start(t, with(func(o *mesh.Options) { meshtest.RunShipped(t, o) }))
	gateway := s.Endpoints().Gateway
	token := newCaller(t, gateway).login(t, user(t, s, "bob")).Access
	requests := map[string]sending{
		"GET /public":              get("/public"),
		"POST /public":             post("/public"),
		"GET /protected, a token":  get("/protected", bearer(token)),
		"POST /protected, a token": post("/protected", bearer(token)),
		"GET the issuer's key set": get("/.well-known/jwks.json"),
	}
	before := map[string]time.Duration{}
	for name, send := range requests {
		before[name] = honest(t, 100, send, gateway)
	}
	crowd(t, s, 16, http.MethodPost, "/public")
	for name, send := range requests {
		during := honest(t, 100, send, gateway)
		t.Logf("%s: 99 %% within %v, before the crowd %v", name, during, before[name])
	}
}

// TestSlowLoginsKeepNobodyFromLoggingInAndOut: 1,400 logins, and as many logouts, whose bodies
// do not come.
func TestSlowLoginsKeepNobodyFromLoggingInAndOut(t *testing.T) {
	s := meshtest.Start(t, with(func(o *mesh.Options) { meshtest.RunShipped(t, o) }))
	gateway, bob := s.Endpoints().Gateway, user(t, s, "bob")
	inAndOut := func(c *caller) (answer, error) {
		body := []byte(`{"username": "bob", "password": "` + bob.Password + `"}`)
		a, err := c.try("POST", "/login", body, header("Content-Type", "application/json"))
		if err != nil || a.status != http.StatusOK {
			return a, err
		}
		return c.try("POST", "/logout", nil, bearer(a.tokens(t).Access))
	}
	before := honest(t, 20, inAndOut, gateway)
	crowd(t, s, 14, http.MethodPost, "/login")
	during := honest(t, 20, inAndOut, gateway)
	crowd(t, s, 14, http.MethodPost, "/logout")
	t.Logf("a login and a logout: within %v, with slow logins %v, with slow logouts too %v",
		before, during, honest(t, 20, inAndOut, gateway))
}

// TestStrangersTakePlacesOfStrangersAlone: as many requests without a token as the upstream
// takes of strangers, none of which it answers, keep nobody out who is known.
func TestStrangersTakePlacesOfStrangersAlone(t *testing.T) {
	s := meshtest.Start(t, with(func(o *mesh.Options) {
		o.Upstream = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/public" {
				<-r.Context().Done()
				return
			}
			mesh.Echo.ServeHTTP(w, r)
		})
		meshtest.RunShipped(t, o)
	}))
	gateway := s.Endpoints().Gateway
	token := newCaller(t, gateway).login(t, user(t, s, "bob")).Access
	known := get("/protected", bearer(token))
	before := honest(t, 100, known, gateway)
	crowd(t, s, 11, http.MethodGet, "/public")
	eventually.True(t, "the places of strangers to be taken", func() bool {
		return stat(t, s, "cluster.public.circuit_breakers.default.cx_open") == 1
	})
	t.Logf("99 %% within %v, before the crowd %v", honest(t, 100, known, gateway), before)
	honest(t, 20, post("/protected", bearer(token)), gateway)
}

// TestSlowUploadsOfOneUserKeepNoRequestOut: one account's bodies that do not come, as many as the
// upstream takes of uploads (whose number is made smaller), do not keep out what others post.
func TestSlowUploadsOfOneUserKeepNoRequestOut(t *testing.T) {
	s := meshtest.Start(t, with(func(o *mesh.Options) {
		o.Upstream = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if _, err := io.Copy(io.Discard, r.Body); err == nil {
				mesh.Echo.ServeHTTP(w, r)
			}
		})
		meshtest.RunShipped(t, o, meshtest.Change{
			Old: "&long {thresholds: [{" +
				"max_connections: 4096, max_pending_requests: 1024, max_requests: 4096}]}",
			New: "&long {thresholds: [{" +
				"max_connections: 128, max_pending_requests: 128, max_requests: 256}]}",
		})
	}))
	gateway := s.Endpoints().Gateway
	bob := newCaller(t, gateway).login(t, user(t, s, "bob")).Access
	alice := newCaller(t, gateway).login(t, user(t, s, "alice")).Access
	crowd(t, s, 2, http.MethodPost, "/protected", bearer(bob))
	eventually.True(t, "the places of uploads to be taken", func() bool {
		return stat(t, s, "cluster.upstream_streams.circuit_breakers.default.cx_open") == 1
	})
	honest(t, 20, post("/protected", bearer(alice)), gateway)
	honest(t, 20, get("/protected", bearer(alice)), gateway)
}

// TestEnvoysStatusIsSeenWhenAllConnectionsAreTaken through the shipped file, whose 20,000
// connections are made twenty.
func TestEnvoysStatusIsSeenWhenAllConnectionsAreTaken(t *testing.T) {
	s := meshtest.Start(t, with(func(o *mesh.Options) {
		meshtest.RunShipped(t, o, meshtest.Change{
			Old: "max_active_downstream_connections: 20000", New: "max_active_downstream_connections: 20",
		})
	}))
	gateway, status := strings.TrimPrefix(s.Endpoints().Gateway, "http://"), s.Status()
	for range 20 {
		conn, err := net.Dial("tcp", gateway)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = conn.Close() })
	}
	eventually.True(t, "the gateway to take no more", func() bool {
		_, err := newCaller(t, s.Endpoints().Gateway).try("GET", "/public", nil)
		return err != nil
	})
	for _, path := range []string{"/ready", "/stats/prometheus"} {
		for range 30 { // more than there are connections, each of its own
			c := newCaller(t, "http://"+status)
			if a, err := c.try("GET", path, nil); err != nil || a.status != http.StatusOK {
				t.Fatalf("%s: %d %v", path, a.status, err)
			}
		}
	}
}

// TestABodyForTheIssuerIsBounded: what is longer than 64 KiB is refused before the issuer hears
// of it, in words that a client can read.
func TestABodyForTheIssuerIsBounded(t *testing.T) {
	s := meshtest.Start(t, with(func(o *mesh.Options) { meshtest.RunShipped(t, o) }))
	c := newCaller(t, s.Endpoints().Gateway)
	long := []byte(`{"username": "` + strings.Repeat("x", 70000) + `"}`)
	for _, path := range []string{"/login", "/refresh", "/logout", "/backchannel-logout"} {
		a := c.send(t, "POST", path, long, header("Content-Type", "application/json"))
		if a.status != http.StatusRequestEntityTooLarge || a.field(t, "error") != "request_too_large" {
			t.Errorf("%s: %d %s", path, a.status, a.body)
		}
	}
	for _, cluster := range []string{"issuer", "logout"} {
		if n := stat(t, s, "cluster."+cluster+".upstream_rq_total"); n != 0 {
			t.Errorf("the issuer has heard of %d requests, by %s", n, cluster)
		}
	}
	token := c.login(t, user(t, s, "bob")).Access
	// What is known to be somebody's passes on as it comes, of any size.
	a := c.send(t, "POST", "/protected", make([]byte, 1<<20), bearer(token))
	if a.status != http.StatusOK {
		t.Errorf("an upload of 1 MiB: %d %s", a.status, a.body)
	}
	a = c.send(t, "POST", "/public", make([]byte, 300<<10))
	if a.status != http.StatusRequestEntityTooLarge {
		t.Errorf("a stranger's upload of 300 KiB: %d %s", a.status, a.body)
	}
}
