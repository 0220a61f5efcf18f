package extauthz

import (
	"testing"

	"github.com/sallyport/sallyport/authz/authztest"
)

// TestOneAnswer over gRPC, with headers raw or not, whoever removes other spellings: where Envoy does,
// it does so before it asks.
func TestOneAnswer(t *testing.T) {
	w := authztest.DrawWorld()
	doors := map[string]authztest.Door{}
	for name, strip := range map[string]string{"seen": stripSeen, "all": stripAll} {
		b := start(t, w, func(c *Config) { c.Strip = strip })
		for suffix, raw := range map[string]bool{"": false, ", raw headers": true} {
			doors["strip: "+name+suffix] = authztest.Door{
				Ask: b.ask(t, raw), Put: b.engine.SetPolicies, Lines: b.lines,
			}
		}
	}
	authztest.OneAnswer(t, w, doors)
}
