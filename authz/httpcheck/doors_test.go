package httpcheck

import (
	"slices"
	"testing"

	"github.com/sallyport/sallyport/authz/authztest"
	"github.com/sallyport/sallyport/internal/policy"
)

// TestOneAnswer over HTTP, by each proxy's way of saying what it asks about.
func TestOneAnswer(t *testing.T) {
	w := authztest.DrawWorld()
	doors := map[string]authztest.Door{}
	for _, name := range proxyNames() {
		b := start(t, w, configFor(t, name))
		doors[name] = authztest.Door{
			Ask: b.ask(t), Lines: &b.lines, OverHTTP: true,
			Put: func(p *policy.Policy, named map[string]*policy.Policy) {
				b.named = p.ClaimHeaders()
				for _, other := range named {
					b.named = append(b.named[:len(b.named):len(b.named)], other.ClaimHeaders()...)
				}
				slices.Sort(b.named)
				b.named = slices.Compact(b.named) // two policies may name one header
				b.engine.SetPolicies(p, named)
			},
		}
	}
	authztest.OneAnswer(t, w, doors)
}
