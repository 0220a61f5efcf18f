package e2e_test

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"

	"github.com/sallyport/sallyport/internal/eventually"
	"github.com/sallyport/sallyport/internal/jose"
	"github.com/sallyport/sallyport/internal/jose/josetest"
	"github.com/sallyport/sallyport/internal/mesh"
	"github.com/sallyport/sallyport/internal/meshtest"
)

const otherIssuer = "https://sso.example/realms/shop"

// other is an issuer of somebody else: it makes access tokens, and tells of logouts.
type other struct{ key *josetest.Key }

// believed has a mesh's gates accept the tokens of another issuer, and its issuers the messages.
func (o other) believed(t *testing.T, m *mesh.Options) {
	set, err := jose.MarshalKeySet([]*jose.PublicKey{o.key.Public()})
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(m.Dir, "other.json"), set, 0o600); err != nil {
		t.Fatal(err)
	}
	const entry = "- issuer: " + otherIssuer +
		"\n  jwks_file: other.json\n  audiences: [shop]\n  algorithms: [ES256]\n"
	m.Rewrite = func(name, content string) string {
		switch name {
		case "issuer.yaml":
			// One machine plays all senders of a test.
			return content + "\nmessages: {requests: {burst: 100000, every: 1ms}}\nsenders:\n" + entry
		case "authz.yaml":
			const silent = `  role_prefix: ""` + "\n"
			content = strings.Replace(content, "\n  ours: true\n", "\n  ours: true\n"+silent, 1)
			return strings.Replace(content, "\nissuers:\n",
				"\nissuers:\n"+entry+"  typ: JWT\n"+silent, 1)
		}
		return content
	}
}

// session returns an access token of a session there, and the logout token that ends it.
func (o other) session(sid string) (access, logout string) {
	now := time.Now()
	base := josetest.Object(nil).
		With("iss", josetest.Text(otherIssuer)).
		With("aud", josetest.Text("shop")).
		With("iat", josetest.Seconds(now)).
		With("sub", josetest.Text("carol")).
		With("sid", josetest.Text(sid))
	access = o.key.Token(o.key.Header("JWT").JSON(), base.
		With("jti", josetest.Text("access of "+sid)).
		With("exp", josetest.Seconds(now.Add(30*time.Minute))).JSON())
	logout = o.key.Token(o.key.Header("logout+jwt").JSON(), base.
		With("jti", josetest.Text("logout of "+sid)).
		With("events", `{"http://schemas.openid.net/event/backchannel-logout":{}}`).JSON())
	return access, logout
}

// tell posts a logout token as its issuer does.
func tell(c *caller, logout string) (answer, error) {
	return c.try(http.MethodPost, "/backchannel-logout",
		[]byte(url.Values{"logout_token": {logout}}.Encode()),
		header("Content-Type", "application/x-www-form-urlencoded"))
}

// TestALogoutElsewhereIsInForceAtEveryGate (S1): from the moment when another issuer begins to send
// a logout token, through Envoy, until three gates refuse the session's access token.
func TestALogoutElsewhereIsInForceAtEveryGate(t *testing.T) {
	const sessions = 300
	o := other{josetest.NewKey("ES256", "other-1")}
	s := meshtest.Start(t, meshtest.Options{
		Gates: 3, Mesh: func(m *mesh.Options) { o.believed(t, m) },
	})
	gates := dialGates(t, s)
	c := newCaller(t, s.Endpoints().Gateway)
	took := make([]time.Duration, sessions)
	for i := range took {
		access, logout := o.session(fmt.Sprintf("session-%d", i))
		for n, gate := range gates {
			if status, reason, err := ask(gate, access); status != http.StatusOK {
				t.Fatalf("gate %d refuses a valid token: %d %s %v (S8)", n+1, status, reason, err)
			}
		}
		sent := time.Now()
		a, err := tell(c, logout)
		if err != nil || a.status != http.StatusOK || a.header.Get("Cache-Control") != "no-store" {
			t.Fatalf("a logout token: %d %s %v", a.status, a.body, err)
		}
		took[i] = untilRefusedEverywhere(t, gates, access, sent)
	}
	inTime(t, took)
}

// inTime holds the times from messages' arrival to the last gate's refusal to the promise.
func inTime(t *testing.T, took []time.Duration) {
	t.Helper()
	slices.Sort(took)
	p50, p99, worst := took[len(took)/2], took[len(took)*99/100], took[len(took)-1]
	t.Logf("%d messages, until three gates refuse: p50 %v, p99 %v, max %v", len(took), p50, p99, worst)
	if p99 > 50*time.Millisecond {
		t.Errorf("p99 %v is above 50 ms", p99)
	}
}

// TestNoAcknowledgedLogoutElsewhereIsLost (S4, S7): a thousand logout tokens, each sent again until
// it is acknowledged, as senders do, while an issuer, Redis and the other issuer are killed one
// after the other. Every gate refuses every session, one that starts then, too.
func TestNoAcknowledgedLogoutElsewhereIsLost(t *testing.T) {
	const messages, senders = 1000, 8
	o := other{josetest.NewKey("ES256", "other-1")}
	s := meshtest.Start(t, meshtest.Options{
		Gates: 2, Issuers: 2, Mesh: func(m *mesh.Options) { o.believed(t, m) },
	})
	c := newCaller(t, s.Endpoints().Gateway)
	var (
		access             = make([]string, messages)
		next, acknowledged atomic.Int64
		again              atomic.Int64
		wait               sync.WaitGroup
	)
	ctx, cancel := context.WithTimeout(t.Context(), 150*time.Second)
	defer cancel()
	for range senders {
		wait.Go(func() {
			for {
				i := next.Add(1) - 1
				if i >= messages {
					return
				}
				var logout string
				access[i], logout = o.session(fmt.Sprintf("session-%d", i))
				if n := o.untilAcknowledged(ctx, t, c, logout); n < 0 {
					return
				} else {
					again.Add(n)
				}
				acknowledged.Add(1)
			}
		})
	}
	for i, name := range []string{"issuer-1", "redis", "issuer-2"} {
		due := int64(messages * (i + 1) / 4)
		eventually.Within(t, 100*time.Second, "messages to be acknowledged before a kill",
			func() bool { return acknowledged.Load() >= due })
		if err := s.Child(name).Kill(); err != nil {
			t.Fatal(err)
		}
		if err := s.Child(name).Restart(ctx); err != nil {
			t.Fatal(err)
		}
	}
	wait.Wait()
	if n := acknowledged.Load(); n != messages {
		t.Fatalf("%d of %d messages were acknowledged in time", n, messages)
	}
	t.Logf("%d messages were acknowledged; they were sent again %d times", messages, again.Load())
	if again.Load() == 0 {
		t.Error("no kill was noticed: this shows nothing")
	}
	// A gate that begins now has nothing but the log.
	if err := s.Child("gate-2").Restart(ctx); err != nil {
		t.Fatal(err)
	}
	for n, gate := range dialGates(t, s) {
		for i, token := range access {
			if status, reason := definite(ctx, gate, token); status != http.StatusUnauthorized ||
				reason != "revoked" {
				t.Errorf("gate %d: session %d: %d %s: acknowledged, and lost (S4)", n+1, i, status, reason)
			}
		}
	}
}

// untilAcknowledged sends a logout token until it is taken, and returns how often it was sent again;
// -1 when it was refused, or ctx has ended.
func (o other) untilAcknowledged(ctx context.Context, t *testing.T, c *caller, logout string) int64 {
	for again := int64(0); ; again++ {
		a, err := tell(c, logout)
		switch {
		case err == nil && a.status == http.StatusOK:
			return again
		case err == nil && a.status != http.StatusServiceUnavailable &&
			a.status != http.StatusBadGateway && a.status != http.StatusGatewayTimeout:
			t.Errorf("a good logout token: %d %s", a.status, a.body)
			return -1
		}
		select {
		case <-ctx.Done():
			return -1
		case <-time.After(50 * time.Millisecond): // as a sender waits
		}
	}
}

// definite asks a gate until it can know.
func definite(ctx context.Context, gate authv3.AuthorizationClient, token string) (int, string) {
	for {
		status, reason, err := ask(gate, token)
		if ctx.Err() != nil || err == nil && status != http.StatusServiceUnavailable {
			return status, reason
		}
	}
}
