package filter

import (
	"testing"

	"github.com/sallyport/sallyport/authz/authztest"
)

// TestOneAnswer inside Envoy.
func TestOneAnswer(t *testing.T) {
	w := authztest.DrawWorld()
	b := start(t, w)
	authztest.OneAnswer(t, w, map[string]authztest.Door{
		"filter": {Ask: b.ask(t), Put: b.engine.SetPolicies, Lines: &b.lines},
	})
}
