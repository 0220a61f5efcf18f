package authz_test

import (
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sallyport/sallyport/authz"
	"github.com/sallyport/sallyport/authz/authztest"
	"github.com/sallyport/sallyport/internal/policy"
	"github.com/sallyport/sallyport/internal/revocation"
	"github.com/sallyport/sallyport/internal/token"
)

// direct is no transport at all.
func direct(_ *testing.T, w *authztest.World) authztest.Ask {
	engine := w.Engine(nil)
	return func(r authz.Request) authztest.Answer { return answer(engine.Decide(&r)) }
}

func answer(d authz.Decision) authztest.Answer {
	if !d.Allow {
		refused := d.Refused()
		return authztest.Answer{Status: refused.Status, Headers: refused.Headers, Body: refused.Body}
	}
	return authztest.Answer{
		Status: 200, Set: d.Identity.Set,
		Remove: append(append([]string(nil), d.Identity.Remove...), d.Strip...),
	}
}

// protected is a request for /protected with a bearer token.
func protected(t string) *authz.Request {
	r := authztest.Get("/protected", "authorization", "Bearer "+t)
	return &r
}

func TestDecisions(t *testing.T) { authztest.Run(t, direct) }

func TestHostileTokensAreRefused(t *testing.T) { authztest.RunAttacks(t, direct) }

func TestHostileTokensOfOthersAreRefused(t *testing.T) { authztest.RunForeignAttacks(t, direct) }

// TestWhatClientsAreTold holds every refusal to the byte: what it is for each status, with the
// reason's own words.
func TestWhatClientsAreTold(t *testing.T) {
	const rest = "content-type: application/json\ncache-control: no-store\nx-sallyport-reason: %[1]s\n"
	forms := map[int]string{
		400: rest + `{"error":"invalid_request","error_description":%[2]q}`,
		401: "www-authenticate: Bearer realm=\"sallyport\", error=\"invalid_token\"\n" + rest + `{"error":"invalid_token","error_description":%[2]q}`,
		403: "www-authenticate: Bearer realm=\"sallyport\", error=\"insufficient_scope\"\n" + rest + `{"error":"insufficient_scope","error_description":%[2]q}`,
		503: "retry-after: 1\n" + rest + `{"error":"temporarily_unavailable","error_description":%[2]q}`,
	}
	engine := authztest.New().Engine(nil)
	for _, d := range token.Reasons() {
		form := forms[d.Status]
		switch d.Reason {
		case token.ReasonACR, token.ReasonLoginTooOld:
			form = strings.ReplaceAll(form, "invalid_token", "insufficient_user_authentication")
		case token.ReasonNoToken:
			form = "www-authenticate: Bearer realm=\"sallyport\"\n" + rest + `{"error":"unauthorized","error_description":%[2]q}`
		}
		r := engine.Refusal(d.Reason)
		var got strings.Builder
		for _, h := range r.Headers {
			fmt.Fprintf(&got, "%s: %s\n", h.Name, h.Value)
		}
		if want := fmt.Sprintf(form, d.Reason,
			d.Meaning); got.String()+r.Body != want || r.Status != d.Status ||
			r.Reason != d.Reason {
			t.Errorf("%s: got %d\n%s%s\nwant\n%s", d.Reason, r.Status, got.String(), r.Body, want)
		}
	}
}

func TestTheZeroDecisionRefuses(t *testing.T) {
	var d authz.Decision
	if d.Allow || d.Refused().Status != 503 || d.Reason() != "internal" ||
		d.Refused().Reason != token.ReasonInternal {
		t.Errorf("got %v %d %s", d.Allow, d.Refused().Status, d.Reason())
	}
}

func TestAnUnknownReasonIsOurOwnFailure(t *testing.T) {
	if r := authztest.New().
		Engine(nil).
		Refusal("made_up"); r.Status != 503 ||
		r.Reason != token.ReasonInternal {
		t.Errorf("got %d %s", r.Status, r.Reason)
	}
}

// panicky panics wherever it is asked.
type panicky struct{ authz.Revocations }

func (panicky) Check(*revocation.Facts) revocation.Verdict { panic("out of order") }

func TestAPanicRefuses(t *testing.T) {
	w := authztest.New()
	o := w.Options(nil)
	o.Revocations = panicky{w.Revocations}
	var told string
	o.OnPanic = func(what string, stack []byte) {
		if told = what; len(stack) == 0 {
			t.Error("no stack")
		}
	}
	engine, err := authz.New(w.Policy, o)
	if err != nil {
		t.Fatal(err)
	}
	d := engine.Decide(protected(w.Token()))
	if d.Allow || d.Refused().Status != 503 || d.Reason() != "internal" ||
		told != "a panic with a value of type string" {
		t.Errorf("got %v %d %s, told %q", d.Allow, d.Refused().Status, d.Reason(), told)
	}
	if d := engine.Decide(nil); d.Allow || d.Reason() != "internal" {
		t.Errorf("a nil request: got %v %s", d.Allow, d.Reason())
	}
}

func TestNewRefusesWhatCannotWork(t *testing.T) {
	w := authztest.New()
	for name, change := range map[string]func(*authz.Options){
		"no keys":         func(o *authz.Options) { o.Keys = nil },
		"no revocations":  func(o *authz.Options) { o.Revocations = nil },
		"quote in realm":  func(o *authz.Options) { o.Realm = `a"b` },
		"CR LF in realm":  func(o *authz.Options) { o.Realm = "a\r\nb" },
		"realm not ASCII": func(o *authz.Options) { o.Realm = "é" },
		"negative cache":  func(o *authz.Options) { o.Cache.Entries = -1 },
		"negative bytes":  func(o *authz.Options) { o.Cache.Bytes = -1 },
		"enormous cache":  func(o *authz.Options) { o.Cache.Entries = 1 << 40 },
	} {
		o := w.Options(nil)
		change(&o)
		if _, err := authz.New(w.Policy, o); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	if _, err := authz.New(nil, w.Options(nil)); err == nil {
		t.Error("no policy: accepted")
	}
}

func TestAnotherPolicyIsInForceAtOnce(t *testing.T) {
	w := authztest.New()
	engine := w.Engine(nil)
	r := protected(w.Token())
	if d := engine.Decide(r); !d.Allow {
		t.Fatal(d.Reason())
	}
	stricter, err := policy.Compile(policy.Config{Routes: []policy.Route{
		{Match: policy.Match{Path: "/protected"}, Require: policy.Require{Scopes: []string{"delete"}}},
	}})
	if err != nil {
		t.Fatal(err)
	}
	engine.SetPolicy(stricter)
	d := engine.Decide(r)
	if d.Allow || d.Refused().Status != 403 || !d.Cached ||
		!strings.Contains(d.Refused().Headers[0].Value, `scope="delete"`) {
		t.Errorf("got %v %d, cached %v, %v", d.Allow, d.Refused().Status, d.Cached, d.Refused().Headers)
	}
}

// TestRefusalsTellTheAuditWho: a caller is known once the signature is, and only then.
func TestRefusalsTellTheAuditWho(t *testing.T) {
	w := authztest.New()
	engine := w.Engine(nil)
	setup := w.Setup()
	for _, a := range setup.SignatureAttacks() {
		if d := engine.Decide(protected(a.Token)); d.Identity != nil {
			t.Errorf("%s: identity %+v", a.Name, d.Identity.Claims)
		}
	}
	w.Revocations.Revoke(func(*revocation.Facts) bool { return true })
	d := engine.Decide(protected(setup.Good()))
	if d.Identity == nil || d.Identity.Claims.Subject != "alice" || d.Revocation.Seq != 7 {
		t.Errorf("a revoked token: got identity %v, revocation %+v", d.Identity, d.Revocation)
	}
}

func TestAMissingKeyIsNamed(t *testing.T) {
	w := authztest.New()
	engine := w.Engine(nil)
	tok := w.Token()
	w.Keys.Remove(authztest.Issuer, authztest.KeyID)
	d := engine.Decide(protected(tok))
	if !d.Missing.Needed() || d.Missing.Issuer != authztest.Issuer ||
		d.Missing.KeyID != authztest.KeyID {
		t.Errorf("got %+v", d.Missing)
	}
	for _, tok := range []string{"x", w.Setup().AlgorithmAttacks()[0].Token, w.ForeignToken()} {
		if d := engine.Decide(protected(tok)); d.Missing.Needed() {
			t.Errorf("got %+v of a token that needs no key", d.Missing)
		}
	}
}

func TestRemainingIsToldByTheGatesClock(t *testing.T) {
	w := authztest.New()
	engine := w.Engine(nil)
	r := protected(w.Token())
	for _, later := range []time.Duration{0, 20 * time.Minute, 10 * time.Minute} {
		w.Now = w.Now.Add(later)
		want := time.Unix(w.Claims().Expiry, 0).Sub(w.Now)
		if d := engine.Decide(r); d.Allow &&
			d.Remaining != time.Unix(d.Identity.Claims.Expiry, 0).Sub(w.Now) {
			t.Errorf("got %v, want %v", d.Remaining, want)
		}
	}
	public := authztest.Get("/public")
	if d := engine.Decide(&public); d.Remaining != 0 {
		t.Errorf("without a token: got %v", d.Remaining)
	}
}

// TestNothingIsKeptOfARequest overwrites the request's memory once the decision is made.
func TestNothingIsKeptOfARequest(t *testing.T) {
	w := authztest.New()
	engine := w.Engine(nil)
	good := w.Token()
	for range 3 {
		buffer := []byte("Bearer " + good)
		r := authztest.Get("/protected", "authorization", view(buffer))
		d := engine.Decide(&r)
		for i := range buffer {
			buffer[i] = 'x'
		}
		authztest.Compare(t, authztest.Alice, answer(d))
	}
	if d := engine.Decide(protected(good)); !d.Allow || !d.Cached {
		t.Errorf("got %s, cached %v", d.Reason(), d.Cached)
	}
	if d := engine.Decide(protected(strings.Repeat("x", len(good)))); d.Allow {
		t.Error("the overwritten memory is taken for a token")
	}
}

// TestDecisionsAreMadeByMany has decisions, revocations, key changes and policies go on at once;
// the race detector watches, and whatever is allowed must have been so at some time.
func TestDecisionsAreMadeByMany(t *testing.T) {
	w := authztest.New()
	engine := w.Engine(nil)
	good, bad := w.Token(), w.Setup().SignatureAttacks()[1].Token
	var deciders, changers sync.WaitGroup
	done := make(chan struct{})
	for range 4 {
		deciders.Go(func() {
			for range 500 {
				if d := engine.Decide(protected(bad)); d.Allow {
					t.Error("a forged token is allowed")
				}
				d := engine.Decide(protected(good))
				if d.Allow && d.Identity.Claims.Subject != "alice" {
					t.Error("another identity")
				}
			}
		})
	}
	changers.Go(func() {
		for {
			select {
			case <-done:
				return
			default:
				w.Keys.Remove(authztest.Issuer, "none")
				engine.SetPolicy(w.Policy)
			}
		}
	})
	deciders.Wait()
	close(done)
	changers.Wait()
	w.Revocations.Revoke(func(*revocation.Facts) bool { return true })
	if d := engine.Decide(protected(good)); d.Allow {
		t.Error("allowed after its revocation")
	}
}

func TestMisspellingsAreAllSpellings(t *testing.T) {
	seen := map[string]bool{}
	for _, name := range authz.Misspellings() {
		folded := strings.NewReplacer("_", "-", ".", "-").Replace(name)
		if seen[name] || folded == name ||
			!strings.Contains(" "+strings.Join(authz.IdentityHeaders(), " ")+" ", " "+folded+" ") {
			t.Errorf("%s does not belong here", name)
		}
		seen[name] = true
	}
	if want := 5*(9-1) + (27 - 1); len(seen) != want {
		t.Errorf("got %d spellings, want %d", len(seen), want)
	}
}

// TestAStepUpIsAskedForInTheChallenge: which login would do, all of it at once (RFC 9470 section 3),
// of the alternative that the token lacks least of.
func TestAStepUpIsAskedForInTheChallenge(t *testing.T) {
	w := authztest.New()
	at := func(path string, require policy.Require) policy.Route {
		return policy.Route{Match: policy.Match{Path: path}, Require: require}
	}
	var err error
	w.Policy, err = policy.Compile(policy.Config{Routes: []policy.Route{
		at("/fresh", policy.Require{Fresh: 90 * time.Second}),
		at("/acr", policy.Require{ACR: []string{"gold", "urn:x:silver"}}),
		at("/both", policy.Require{Fresh: time.Hour, ACR: []string{"gold"}}),
		at("/any", policy.Require{AnyOf: []policy.Require{
			{Roles: []string{"nobody-has-it"}}, {Fresh: time.Minute},
		}}),
		at("/late", policy.Require{Roles: []string{"nobody-has-it"}, Fresh: time.Minute}),
		at("/login-of-an-hour", policy.Require{Fresh: time.Hour}),
	}})
	if err != nil {
		t.Fatal(err)
	}
	engine := w.Engine(nil)
	const step = `Bearer realm="sallyport", error="insufficient_user_authentication"`
	for path, want := range map[string]authztest.Want{
		"/fresh": {
			Reason: token.ReasonLoginTooOld, Challenge: step + `, max_age="90"`,
		},
		"/acr": {Reason: token.ReasonACR, Challenge: step + `, acr_values="gold urn:x:silver"`},
		"/both": {
			Reason: token.ReasonACR, Challenge: step + `, acr_values="gold", max_age="3600"`,
		},
		"/any":  {Reason: token.ReasonLoginTooOld, Challenge: step + `, max_age="60"`},
		"/late": authztest.Forbidden(token.ReasonInsufficientRole),
	} {
		if want.Status == 0 {
			want.Status, want.Error = 401, "insufficient_user_authentication"
		}
		r := authztest.Get(path, "authorization", "Bearer "+w.Token())
		d := engine.Decide(&r)
		authztest.Compare(t, want, answer(d))
		if !strings.HasPrefix(d.Detail(), "routes[") || !strings.Contains(d.Detail(), " asks for ") {
			t.Errorf("%s: the log is told %q", path, d.Detail())
		}
	}
	r := authztest.Get("/login-of-an-hour", "authorization", "Bearer "+w.Token())
	authztest.Compare(t, authztest.Alice, answer(engine.Decide(&r)))
}
