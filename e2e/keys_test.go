package e2e_test

import (
	"net/http"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/sallyport/sallyport/internal/eventually"
	"github.com/sallyport/sallyport/internal/meshtest"
)

// TestAGateStartsFromItsLastGoodKeysWhileTheIssuerIsDown: the issuer is killed before the gate is,
// and stays away until the gate has served.
func TestAGateStartsFromItsLastGoodKeysWhileTheIssuerIsDown(t *testing.T) {
	s := meshtest.Start(t, meshtest.Options{})
	c := newCaller(t, s.Endpoints().Gateway)
	token := c.login(t, user(t, s, "alice")).Access
	c.get(t, "/protected", bearer(token)).reached(t)

	issuer, gate := s.Child("issuer-1"), s.Child("gate-1")
	if err := issuer.Kill(); err != nil {
		t.Fatal(err)
	}
	if _, err := newCaller(t,
		s.Endpoints().Issuer).try(http.MethodGet, "/.well-known/jwks.json", nil); err == nil {
		t.Fatal("the issuer is not down")
	}
	if err := gate.Restart(t.Context()); err != nil {
		t.Fatal(err)
	}
	eventually.True(t, "Envoy to ask the gate again",
		func() bool { return c.get(t, "/protected", bearer(token)).status == 200 })
	for range 50 {
		c.get(t, "/protected", bearer(token)).reached(t)
	}
	c.get(t, "/protected", bearer(flip(token))).refused(t, 401, "invalid_token", "signature")
	// Nobody can say now whether the issuer has another key: that is no fault of the token.
	thief := hostile(t, s, token)
	unknown := thief.Key.Token(
		thief.Key.Header("at+jwt").With("kid", `"perhaps-new"`).JSON(), thief.Claims.JSON())
	for range 3 {
		a := c.get(t, "/protected", bearer(unknown))
		a.refused(t, 503, "temporarily_unavailable", "key_pending")
		if after := a.header.Get("Retry-After"); after != "1" {
			t.Errorf("expected a client to be told when to try again, got %q", after)
		}
	}

	admin := newCaller(t, s.Endpoints().Gates[0].Admin)
	if keys := metric(t, admin, "sallyport_keyset_keys"); keys != 2 {
		t.Errorf("the gate has %v keys in force, expected the two that the issuer had published", keys)
	}
	for series, n := range figures(t, admin, "sallyport_keyset_fetches_total") {
		if n != 0 && !strings.Contains(series, `result="failed"`) {
			t.Errorf("a fetch has succeeded: %s %v", series, n)
		}
	}
	if a, err := newCaller(t,
		s.Endpoints().Issuer).try(http.MethodGet, "/.well-known/jwks.json", nil); err == nil {
		t.Fatalf("the issuer has come back by itself: %d", a.status)
	}

	if err := issuer.Restart(t.Context()); err != nil {
		t.Fatal(err)
	}
	eventually.True(t, "Envoy to send logins to the issuer again",
		func() bool { return c.get(t, "/.well-known/jwks.json").status == 200 })
	c.get(t, "/protected", bearer(c.login(t, user(t, s, "bob")).Access)).reached(t)
}

// TestAStolenKeyIsRevokedEverywhereInOneStep: by the operator's command, on a running mesh. What
// the key signed, for whomever and whenever, is refused at every gate from the command's answer on;
// users refresh and go on under the next key.
func TestAStolenKeyIsRevokedEverywhereInOneStep(t *testing.T) {
	s := meshtest.Start(t, meshtest.Options{Gates: 3})
	c := newCaller(t, s.Endpoints().Gateway)
	held := c.login(t, user(t, s, "alice"))
	thief := hostile(t, s, held.Access)
	forged := thief.Key.Token(
		thief.Key.Header("at+jwt").JSON(),
		thief.Claims.With("sub", `"bob"`).With("jti", `"forged"`).With("sid", `"of-nobody"`).JSON(),
	)
	stolen := []string{held.Access, forged}
	for _, token := range stolen {
		c.get(t, "/protected", bearer(token)).reached(t)
	}

	program := filepath.Join(meshtest.Binaries(t, false), "sallyport")
	out, err := exec.CommandContext(t.Context(), program, "keys", "revoke", thief.Key.ID,
		"--dir", s.Endpoints().KeyDir, "--issuer-admin", s.Endpoints().IssuerAdmin,
		"--token-file", s.Endpoints().AdminTokenFile).CombinedOutput()
	if err != nil || !strings.Contains(string(out), "applied by 3/3 gates") {
		t.Fatalf("sallyport keys revoke: %v\n%s", err, out)
	}
	for _, g := range s.Endpoints().Gates {
		conn, err := grpc.NewClient(g.GRPC, grpc.WithTransportCredentials(insecure.NewCredentials()))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = conn.Close() })
		for _, token := range append(stolen, thief.Good()) {
			if status := check(t, authv3.NewAuthorizationClient(conn), token); status != 401 {
				t.Errorf("%s answers %d to what a revoked key signed", g.Name, status)
			}
		}
	}
	eventually.True(t, "the issuer to sign with the next key", func() bool {
		a := c.post(t, "/refresh", map[string]string{"refresh_token": held.Refresh})
		held = a.tokens(t)
		return keyOf(held.Access) != thief.Key.ID
	})
	c.get(t, "/protected", bearer(held.Access)).reached(t)
	// also now that the gates have forgotten the key itself
	c.get(t, "/protected", bearer(forged)).refused(t, 401, "invalid_token", "revoked")
}
