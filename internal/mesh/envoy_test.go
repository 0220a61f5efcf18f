package mesh_test

import (
	"fmt"
	"net/http"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/sallyport/sallyport/internal/mesh"
	"github.com/sallyport/sallyport/internal/meshtest"
)

// Envoy asks another gate when one dies or hangs, soon enough for the request.
func TestAGateThatDiesOrHangsCostsNoRequest(t *testing.T) {
	s := meshtest.Start(t, meshtest.Options{Gates: 2})
	for _, row := range []struct {
		name         string
		hurt, mended func(c *mesh.Child) error
	}{
		{"dies", (*mesh.Child).Kill, func(c *mesh.Child) error { return c.Restart(t.Context()) }},
		{"hangs", signal(syscall.SIGSTOP), signal(syscall.SIGCONT)},
	} {
		t.Run(row.name, func(t *testing.T) {
			s, gate := s.For(t), s.Child("gate-1")
			var hurt sync.WaitGroup
			var refused []string
			for i := range 300 {
				if i == 50 {
					hurt.Go(func() {
						if err := row.hurt(gate); err != nil {
							t.Error(err)
						}
					})
				}
				if r := s.Call("/public", ""); r.Status != http.StatusOK {
					refused = append(refused, fmt.Sprintf("request %d: %d %v %s", i, r.Status, r.Header, r.Body))
				}
			}
			hurt.Wait()
			if len(refused) > 0 {
				t.Errorf("%d of 300 requests were refused, from %s to %s", len(refused),
					refused[0], refused[len(refused)-1])
			}
			if err := row.mended(gate); err != nil {
				t.Fatal(err)
			}
		})
	}
}

func signal(sig syscall.Signal) func(*mesh.Child) error {
	return func(c *mesh.Child) error { return c.Signal(sig) }
}

// Nobody can be asked: Envoy answers 503 itself.
func TestWithoutAnyGateNothingPasses(t *testing.T) {
	s := meshtest.Start(t, meshtest.Options{})
	if err := s.Child("gate-1").Kill(); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{"/public", "/protected", "/nowhere"} {
		got := s.Call(path, "")
		if got.Status != http.StatusServiceUnavailable ||
			got.Header.Get("X-Sallyport-Reason") != "no_gate" {
			t.Errorf("%s: expected 503 for want of a gate, got %d %q", path, got.Status,
				got.Header.Get("X-Sallyport-Reason"))
		}
		var body struct {
			Error       string `json:"error"`
			Description string `json:"error_description"`
		}
		if got.JSON(&body); body.Error != "temporarily_unavailable" || body.Description == "" {
			t.Errorf("%s: the body says %+v", path, body)
		}
	}
	if seen := s.Seen(); len(seen) > 0 {
		t.Errorf("the upstream saw %+v", seen)
	}
	if got := s.Call("/.well-known/jwks.json", "").Status; got != http.StatusOK {
		t.Errorf("the issuer's own path asks no gate, and gave %d", got)
	}
}

// On a route that asks no gate, nobody overwrites what a client says of itself: Envoy must have
// removed it.
func TestAClientsIdentityHeadersAreRemovedOnEveryRoute(t *testing.T) {
	s := meshtest.Start(t, meshtest.Options{Mesh: func(o *mesh.Options) {
		o.Rewrite = func(name, content string) string {
			if name != "envoy.yaml" {
				return content
			}
			changed := strings.Replace(content,
				"cluster: issuer\n                            idle_timeout",
				"cluster: upstream\n                            idle_timeout", 1)
			if changed == content {
				t.Error("envoy.yaml has no route to the issuer to be changed")
			}
			return changed
		}
	}})
	spoofed := []string{
		"x-auth-subject", "x-auth-issuer", "x-auth-roles", "x-auth-scope", "x-auth-session",
		"x-auth-token-id",
		"x-auth-anything", "x-sallyport-reason", "X-Auth-Tenant", "x_auth_subject", "x.auth.roles",
		"x-auth_scope", "x-auth.session", "x.auth_issuer", "x_sallyport_reason",
	}
	for _, path := range []string{"/login", "/.well-known/jwks.json", "/public"} {
		var headers []string
		for _, name := range spoofed {
			headers = append(headers, name+": mallory")
		}
		received := s.Call(path, "", append(headers, "x-auth: kept", "x-author: kept")...).Received()
		for name, value := range received.Headers {
			if strings.Contains(value, "mallory") {
				t.Errorf("%s: the upstream received %s", path, name)
			}
		}
		if received.Headers["x-auth"] != "kept" || received.Headers["x-author"] != "kept" {
			t.Errorf("%s: headers of other names were removed, the upstream received %v", path,
				received.Headers)
		}
	}
}

// What a gate decides on is what the upstream gets, or the request is refused.
func TestAPathHasOneSpelling(t *testing.T) {
	s := meshtest.Start(t, meshtest.Options{})
	for path, want := range map[string]string{
		"/public":                "/public",
		"/nowhere/../public":     "/public",
		"/nowhere/%2e%2e/public": "/public",
		"//public":               "/public",
		"/%70ublic":              "/public",
		"/public%2f..%2fadmin":   "",
		"/public%5c..%5cadmin":   "",
		"/public%00":             "",
	} {
		t.Run(path, func(t *testing.T) {
			response := s.For(t).Call(path, "")
			if want == "" {
				if response.Status != http.StatusBadRequest {
					t.Errorf("expected 400, got %d", response.Status)
				}
				return
			}
			if got := response.Received().Path; got != want {
				t.Errorf("expected the upstream to get %s, it got %s", want, got)
			}
		})
	}
}
