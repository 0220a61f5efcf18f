package authz_test

import (
	"testing"

	"github.com/sallyport/sallyport/authz"
	"github.com/sallyport/sallyport/authz/authztest"
)

// TestOverridesArePassedOnWhereTheyAreWanted, and identity headers in other signs are not, even
// then.
func TestOverridesArePassedOnWhereTheyAreWanted(t *testing.T) {
	w := authztest.New()
	o := w.Options(nil)
	o.KeepOverrides = true
	engine, err := authz.New(w.Policy, o)
	if err != nil {
		t.Fatal(err)
	}
	r := authztest.Get("/public", "x_auth_subject", "root")
	for _, name := range authz.OverrideHeaders() {
		r.Headers = append(r.Headers, authz.Header{Name: name, Value: "/admin"})
	}
	d := engine.Decide(&r)
	if !d.Allow || len(d.Strip) != 1 || d.Strip[0] != "x_auth_subject" {
		t.Errorf("allowed %v, removed %v", d.Allow, d.Strip)
	}
}
