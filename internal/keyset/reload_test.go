package keyset

import (
	"errors"
	"net/http"
	"strings"
	"testing"

	"github.com/sallyport/sallyport/internal/daemon"
)

// panicking is a way to issuers, of which the one to a panics.
type panicking struct{ http.RoundTripper }

func (p panicking) RoundTrip(r *http.Request) (*http.Response, error) {
	if strings.HasPrefix(r.URL.String(), issuerA) {
		panic("a secret")
	}
	return p.RoundTripper.RoundTrip(r)
}

// TestAPanicOverOneSetIsThatSetsErrorAlone: a reload ends no process, which may be Envoy's, and the
// other sets are fetched.
func TestAPanicOverOneSetIsThatSetsErrorAlone(t *testing.T) {
	o := &origin{}
	keys := newKeys(t, 1)
	o.publish(t, keys...)
	g := newGate(t, Options{Transport: panicking{o}}, trust(issuerA), trust(issuerB))
	if err := g.fetch(); !errors.Is(err, daemon.ErrPanic) || strings.Contains(err.Error(), "secret") {
		t.Errorf("got %v, want a panic without its value", err)
	}
	g.wants(issuerB, keys...)
}
