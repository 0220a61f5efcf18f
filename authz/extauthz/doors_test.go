package extauthz

import (
	"testing"

	"github.com/sallyport/sallyport/authz/authztest"
	"github.com/sallyport/sallyport/internal/policy"
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

// TestAMalformedCheckIsToldInThePolicysForm, by as much as could be read of it.
func TestAMalformedCheckIsToldInThePolicysForm(t *testing.T) {
	b := start(t, authztest.New())
	p, err := policy.Compile(policy.Config{
		Refusals: policy.Refusals{As: policy.RefuseNegotiate},
		Routes:   []policy.Route{{Match: policy.Match{Path: "/**"}, Allow: "public"}},
	})
	if err != nil {
		t.Fatal(err)
	}
	b.engine.SetPolicy(p)
	whole := encoded(authztest.Get("/", "accept", "application/problem+json"), true)
	for name, m := range map[string][]byte{
		"two at once": append(whole[:len(whole):len(whole)], whole...), "cut off": whole[:len(whole)-1],
		"garbage": append(whole[:len(whole):len(whole)], 0xff),
	} {
		got := answerOf(t, b.send(t, m))
		want := "application/problem+json"
		if name == "cut off" { // before anything is read
			want = "application/json"
		}
		for _, h := range got.Headers {
			if h.Name == "content-type" && h.Value != want {
				t.Errorf("%s: told as %s", name, h.Value)
			}
		}
		if got.Status != 400 {
			t.Errorf("%s: got %d", name, got.Status)
		}
	}
}
