package extauthz

import (
	"slices"
	"strings"
	"testing"

	"github.com/sallyport/sallyport/authz"
	"github.com/sallyport/sallyport/authz/authztest"
	"github.com/sallyport/sallyport/authz/check"
	"github.com/sallyport/sallyport/authz/extauthz/door"
	"github.com/sallyport/sallyport/internal/policy"
)

// TestOneAnswer over gRPC, with headers raw or not, whoever removes other spellings.
func TestOneAnswer(t *testing.T) {
	w := authztest.DrawWorld()
	doors := map[string]authztest.Door{"strip: envoy": stripping(t, w)}
	for name, strip := range map[string]string{"seen": door.StripSeen, "all": door.StripAll} {
		b := start(t, w, func(c *Config) { c.Strip = strip })
		for suffix, raw := range map[string]bool{"": false, ", raw headers": true} {
			doors["strip: "+name+suffix] = authztest.Door{
				Ask: b.ask(t, raw), Put: b.engine.SetPolicies, Lines: b.lines,
			}
		}
	}
	authztest.OneAnswer(t, w, doors)
}

// stripping is a door whose Envoy removes headers before it asks, and says so.
func stripping(t *testing.T, w *authztest.World) authztest.Door {
	b := start(t, w, byEnvoy)
	var made []string // headers that the policies make of claims, as Envoy has been told of them
	return authztest.Door{
		Lines: b.lines,
		Put: func(p *policy.Policy, named map[string]*policy.Policy) {
			made = p.ClaimHeaders()
			for _, other := range named {
				made = slices.Concat(made, other.ClaimHeaders())
			}
			b.engine.SetPolicies(p, named)
		},
		Ask: func(r authz.Request) authztest.Answer {
			strips := slices.Concat(authz.OverrideHeaders(), made)
			var shown []authz.Header
			var removed []string
			for _, h := range r.Headers {
				if authztest.BeginsAsIdentity(h.Name) || authztest.TakenFor(h.Name, strips...) {
					removed = append(removed, h.Name)
				} else {
					shown = append(shown, h)
				}
			}
			r.Headers = append(shown, authz.Header{
				Name: check.HeaderStripped, Value: strings.Join(append([]string{check.Stripped}, made...), ","),
			})
			a := b.ask(t, true)(r)
			for _, name := range removed {
				if a.Status == 200 && !authz.HasHeader(a.Set, name) {
					a.Remove = append(a.Remove, name)
				}
			}
			return a
		},
	}
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
