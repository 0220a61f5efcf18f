package gate_test

import (
	"io"
	"strings"
	"testing"

	"github.com/sallyport/sallyport/authz"
	"github.com/sallyport/sallyport/authz/extauthz"
	"github.com/sallyport/sallyport/authz/gate"
)

// TestAShadowIsReadAsAPolicyIs: with file and line in its errors, and never in force.
func TestAShadowIsReadAsAPolicyIs(t *testing.T) {
	for shadow, want := range map[string]string{
		"policies: {next: {routes: []}}":                   "policies.next.routes: expected at least one route",
		"policies: {next: {routes: [{match: {path: x}}]}}": "policies.next.routes[0].match.path",
		"policies: {a b: {routes: [{match: {path: /x}}]}}": "expected a name of small letters",
		"shadow: next": "shadow: expected the name of one of policies",
		"policies: {next: {routes: [{match: {path: /x}, require: {issuers: [b]}}]}}": "policies.next.routes[0].require.issuers[0]",
	} {
		_, _, err := load(t, goodConfig+shadow+"\n", nil)
		if err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), "authz.yaml:3:") {
			t.Errorf("%s: got %v, want %s", shadow, err, want)
		}
	}
	c, _, err := load(t, goodConfig+"shadow: next\npolicies: {next: {routes: [{match: {path: /other}, allow: public}]}}\n", nil)
	if err != nil {
		t.Fatal(err)
	}
	g, err := gate.New(c, gate.Options{Audit: io.Discard, Transport: extauthz.GRPC})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := g.Close(); err != nil {
			t.Error(err)
		}
	}()
	for path, wants := range map[string]struct{ decided, shadow string }{
		"/public": {"allowed", "no_token"}, "/other": {"no_token", "allowed"},
	} {
		r := authz.Request{Method: "GET", Path: path, Host: "h"}
		d := g.Engine().Decide(&r)
		other, ok := g.Engine().Shadow(&r)
		if d.Reason() != wants.decided || !ok {
			t.Errorf("%s: decided %s, shadow %v", path, d.Reason(), ok)
		}
		if got := other.Reason(); got != wants.shadow {
			t.Errorf("%s: the shadow says %s", path, got)
		}
	}
}
