package e2e_test

import (
	"net/http"
	"strings"
	"syscall"
	"testing"

	"github.com/sallyport/sallyport/internal/eventually"
	"github.com/sallyport/sallyport/internal/mesh"
	"github.com/sallyport/sallyport/internal/meshtest"
)

// identity is every header by which the gate tells the upstream who calls.
var identity = []string{
	"x-auth-subject",
	"x-auth-issuer",
	"x-auth-roles",
	"x-auth-scope",
	"x-auth-session",
	"x-auth-token-id",
}

// TestTheGateTellsTheUpstreamWhoCalls, in the token's words alone.
func TestTheGateTellsTheUpstreamWhoCalls(t *testing.T) {
	s := shared(t)
	c := newCaller(t, s.Endpoints().Gateway)
	token := c.login(t, user(t, s, "alice")).Access
	_, claims := decode(t, token)

	for name, put := range map[string]edit{
		"Authorization: Bearer": bearer(token),
		"authorization: bearer": header("authorization", "bearer "+token),
		"x-access-token":        header("x-access-token", token),
	} {
		t.Run(name, func(t *testing.T) {
			got := c.get(t, "/protected", put).reached(t)
			want := map[string]any{
				"x-auth-subject": "alice", "x-auth-roles": "admin", "x-auth-issuer": claims["iss"],
				"x-auth-session": claims["sid"], "x-auth-token-id": claims["jti"],
			}
			for name, value := range want {
				if got.Headers[name] != value {
					t.Errorf("%s is %q, expected %q", name, got.Headers[name], value)
				}
			}
			if scope, there := got.Headers["x-auth-scope"]; there {
				t.Errorf("x-auth-scope is %q for a token without scope", scope)
			}
			if got.Path != "/protected" || got.Method != "GET" {
				t.Errorf("the upstream got %s %s", got.Method, got.Path)
			}
		})
	}
}

// TestAClientCannotNameItself: identity headers of the client's own are overwritten, or removed
// when there is nothing to say, on protected and on public routes, in every spelling that an
// upstream may fold into the same name.
func TestAClientCannotNameItself(t *testing.T) {
	s := shared(t)
	c := newCaller(t, s.Endpoints().Gateway)
	token := c.login(t, user(t, s, "bob")).Access
	var spoofed []edit
	for _, name := range identity {
		for _, spelling := range []string{
			name, strings.ToUpper(name), strings.ReplaceAll(name, "-", "_"),
			strings.ReplaceAll(name, "-", "."), strings.Replace(name, "-", "_", 1),
		} {
			spoofed = append(spoofed, func(r *http.Request) { r.Header[spelling] = []string{"mallory"} })
		}
	}
	for path, edits := range map[string][]edit{
		"/protected": append([]edit{bearer(token)}, spoofed...),
		"/public":    spoofed,
		"/public?x":  append([]edit{bearer(token)}, spoofed...),
	} {
		t.Run(path, func(t *testing.T) {
			a := c.get(t, path, edits...)
			if a.status >= 400 && a.status < 500 {
				return // refused whole is as good
			}
			for name, value := range a.reached(t).Headers {
				if strings.Contains(value, "mallory") {
					t.Errorf("the upstream received %s: %s", name, value)
				}
			}
		})
	}
}

// TestOneTokenFromOnePlace: more than one token is none, whichever of them is good.
func TestOneTokenFromOnePlace(t *testing.T) {
	for name, raw := range map[string]bool{"joined headers": false, "raw headers": true} {
		t.Run(name, func(t *testing.T) {
			s := shared(t)
			if raw {
				s = meshtest.Start(t, with(func(o *mesh.Options) { o.EncodeRawHeaders = true }))
			}
			c := newCaller(t, s.Endpoints().Gateway)
			token := c.login(t, user(t, s, "alice")).Access
			c.get(t, "/protected", bearer(token)).reached(t)
			for name, edits := range map[string][]edit{
				"the same in both places":       {bearer(token), header("x-access-token", token)},
				"good bearer, bad other":        {bearer(token), header("x-access-token", "garbage")},
				"bad bearer, good other":        {bearer("garbage"), header("x-access-token", token)},
				"two Authorization, good first": {bearer(token), bearer("garbage")},
				"two Authorization, good last":  {bearer("garbage"), bearer(token)},
				"joined by hand":                {header("Authorization", "Bearer "+token+", Bearer "+token)},
				"x-access-token twice": {
					header("x-access-token", token), header("x-access-token", token),
				},
			} {
				t.Run(name, func(t *testing.T) {
					a := c.get(t, "/protected", edits...)
					if a.status != 401 || a.field(t, "error") != "invalid_token" {
						t.Errorf("%d %s, expected 401 invalid_token", a.status, a.body)
					}
				})
			}
		})
	}
}

// TestRoutesOfTheDemo: the policy's first match wins and its last rule is deny.
func TestRoutesOfTheDemo(t *testing.T) {
	s := shared(t)
	c := newCaller(t, s.Endpoints().Gateway)
	alice, bob := c.login(t, user(t, s, "alice")).Access, c.login(t, user(t, s, "bob")).Access

	c.get(t, "/public").reached(t)
	c.get(t, "/public?next=/admin").reached(t)
	for _, path := range []string{"/protected", "/api/things", "/api/things/1?a=b", "/admin"} {
		c.get(t, path).refused(t, 401, "unauthorized", "no_token")
	}
	for _, path := range []string{"/protected", "/api/things", "/api/things/1"} {
		c.get(t, path, bearer(bob)).reached(t)
	}
	c.get(t, "/admin", bearer(bob)).refused(t, 403, "insufficient_scope", "insufficient_role")
	c.get(t, "/admin", bearer(alice)).reached(t)
	for _, path := range []string{"/nowhere", "/publicity", "/protected.html", "/"} {
		if a := c.get(t, path, bearer(alice)); a.status != 403 ||
			a.header.Get("X-Sallyport-Reason") != "no_route" {
			t.Errorf("%s: %d %s, expected the last rule's 403", path, a.status,
				a.header.Get("X-Sallyport-Reason"))
		}
	}
}

// TestATokenWithOneBitChangedIsRefused in each of its three parts.
func TestATokenWithOneBitChangedIsRefused(t *testing.T) {
	s := shared(t)
	c := newCaller(t, s.Endpoints().Gateway)
	token := c.login(t, user(t, s, "alice")).Access
	parts := strings.Split(token, ".")
	for i, name := range []string{"header", "claims", "signature"} {
		t.Run(name, func(t *testing.T) {
			changed := append([]string(nil), parts...)
			changed[i] = flip("." + parts[i])[1:]
			a := c.get(t, "/protected", bearer(strings.Join(changed, ".")))
			if a.status != 401 || a.field(t, "error") != "invalid_token" ||
				a.header.Get("X-Sallyport-Reason") == "" {
				t.Errorf("%d %s", a.status, a.body)
			}
		})
	}
	c.get(t, "/protected", bearer(token)).reached(t)
}

// TestAGateThatCannotKnowSaysSo (S2, S3): once its copy is older than max_staleness a gate answers
// 503, a token that it knows to be revoked stays 401, and all is well again when Redis is.
func TestAGateThatCannotKnowSaysSo(t *testing.T) {
	s := meshtest.Start(t, with(func(o *mesh.Options) {
		o.GateArgs = []string{"--revocation-max-staleness=3s"}
		o.IssuerArgs = o.GateArgs
	}))
	c := newCaller(t, s.Endpoints().Gateway)
	good, ended := c.login(t, user(t, s, "alice")).Access, c.login(t, user(t, s, "bob")).Access
	if a := c.send(t, "POST", "/logout", nil, bearer(ended)); a.status != 200 {
		t.Fatalf("logout: %d %s", a.status, a.body)
	}
	eventually.True(t, "the ended session to be refused",
		func() bool { return c.get(t, "/protected", bearer(ended)).status == 401 })

	redis := s.Child("redis")
	if err := redis.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	eventually.True(t, "the gate to stop allowing",
		func() bool { return c.get(t, "/protected", bearer(good)).status != 200 })
	c.get(t, "/protected", bearer(good)).refused(t, 503, "temporarily_unavailable", "stale")
	c.get(t, "/protected", bearer(ended)).refused(t, 401, "invalid_token", "revoked")
	c.get(t, "/public").reached(t)

	if err := redis.Signal(syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	eventually.True(t, "the gate to allow again",
		func() bool { return c.get(t, "/protected", bearer(good)).status == 200 })
	c.get(t, "/protected", bearer(ended)).refused(t, 401, "invalid_token", "revoked")
}

// TestAnOutageOfOneGateIsNotSeen: Envoy asks another one, and not one request fails.
func TestAnOutageOfOneGateIsNotSeen(t *testing.T) {
	s := meshtest.Start(t, meshtest.Options{Gates: 2})
	c := newCaller(t, s.Endpoints().Gateway)
	token := c.login(t, user(t, s, "alice")).Access
	gate := s.Child("gate-1")
	for i := range 600 {
		switch i {
		case 100:
			if err := gate.Signal(syscall.SIGSTOP); err != nil {
				t.Fatal(err)
			}
		case 400:
			if err := gate.Signal(syscall.SIGCONT); err != nil {
				t.Fatal(err)
			}
		}
		c.get(t, "/protected", bearer(token)).reached(t)
	}
}
