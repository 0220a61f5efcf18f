package e2e_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/sallyport/sallyport/internal/meshtest"
)

// TestAGateStartsFromItsLastGoodKeysWhileTheIssuerIsDown: the issuer is killed before the gate is, and stays away until the gate
// has served.
func TestAGateStartsFromItsLastGoodKeysWhileTheIssuerIsDown(t *testing.T) {
	s := meshtest.Start(t, meshtest.Options{})
	c := newCaller(t, s.Endpoints().Gateway)
	token := c.login(t, user(t, s, "alice")).Access
	c.get(t, "/protected", bearer(token)).reached(t)

	issuer, gate := s.Child("issuer-1"), s.Child("gate-1")
	if err := issuer.Kill(); err != nil {
		t.Fatal(err)
	}
	if _, err := newCaller(t, s.Endpoints().Issuer).try(http.MethodGet, "/.well-known/jwks.json", nil); err == nil {
		t.Fatal("the issuer is not down")
	}
	if err := gate.Restart(t.Context()); err != nil {
		t.Fatal(err)
	}
	eventually(t, "Envoy to ask the gate again", func() bool { return c.get(t, "/protected", bearer(token)).status == 200 })
	for range 50 {
		c.get(t, "/protected", bearer(token)).reached(t)
	}
	c.get(t, "/protected", bearer(flip(token))).refused(t, 401, "invalid_token", "signature")

	admin := newCaller(t, s.Endpoints().Gates[0].Admin)
	if keys := metric(t, admin, "sallyport_keyset_keys"); keys != 2 {
		t.Errorf("the gate has %v keys in force, expected the two that the issuer had published", keys)
	}
	for series, n := range figures(t, admin, "sallyport_keyset_fetches_total") {
		if n != 0 && !strings.Contains(series, `result="failed"`) {
			t.Errorf("a fetch has succeeded: %s %v", series, n)
		}
	}
	if a, err := newCaller(t, s.Endpoints().Issuer).try(http.MethodGet, "/.well-known/jwks.json", nil); err == nil {
		t.Fatalf("the issuer has come back by itself: %d", a.status)
	}

	if err := issuer.Restart(t.Context()); err != nil {
		t.Fatal(err)
	}
	eventually(t, "Envoy to send logins to the issuer again", func() bool { return c.get(t, "/.well-known/jwks.json").status == 200 })
	c.get(t, "/protected", bearer(c.login(t, user(t, s, "bob")).Access)).reached(t)
}
