package authztest

import (
	"encoding/json"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/sallyport/sallyport/authz"
	"github.com/sallyport/sallyport/internal/jose/josetest"
)

// Answer is what a transport said to a request.
type Answer struct {
	Status  int            // 200: the request may pass
	Headers []authz.Header // of a refusal, names in lower case
	Body    string         // of a refusal
	Set     []authz.Header // headers of the request to overwrite, if it may pass
	Remove  []string       // headers of the request to remove, if it may pass
	// Of a request that may pass: headers of the answer to the client, the parameter of the query to
	// remove, the path without it where the door says it, and what other filters are told.
	Client    []authz.Header
	Parameter string
	Path      string
	Metadata  map[string]string
}

// Ask sends a request through a transport.
type Ask func(authz.Request) Answer

// Run goes through all vectors. start makes a transport in front of an engine on w; it is called
// for every vector.
func Run(t *testing.T, start func(*testing.T, *World) Ask) {
	base := New()
	for _, v := range Vectors(base) {
		t.Run(v.Name, func(t *testing.T) {
			w := base.Again()
			if v.Given != nil {
				v.Given(w)
			}
			ask := start(t, w)
			Compare(t, v.Want, ask(v.Request))
			Compare(t, v.Want, ask(v.Request)) // once more, now that it may be cached
		})
	}
}

// Compare reports in what an answer is not as wanted.
func Compare(t *testing.T, want Want, got Answer) {
	t.Helper()
	if got.Status != want.Status {
		t.Fatalf("got status %d (%s), want %d (%s)", got.Status,
			header(got.Headers, authz.HeaderReason), want.Status, want.Reason)
	}
	if want.Status == 200 {
		comparePass(t, want, got)
		return
	}
	if len(got.Set) > 0 || len(got.Remove) > 0 {
		t.Errorf("a refusal changes the request: sets %v, removes %v", got.Set, got.Remove)
	}
	for name, value := range map[string]string{
		authz.HeaderReason: string(want.Reason), "www-authenticate": want.Challenge,
		"content-type": "application/json", "cache-control": "no-store",
		"retry-after": map[bool]string{true: "1"}[want.Status == 503],
	} {
		if got := header(got.Headers, name); got != value {
			t.Errorf("got %s: %q, want %q", name, got, value)
		}
	}
	compareBody(t, want, got.Body)
}

func compareBody(t *testing.T, want Want, body string) {
	t.Helper()
	var members map[string]string
	if err := json.Unmarshal([]byte(body), &members); err != nil {
		t.Fatalf("body %q: %v", body, err)
	}
	d, ok := want.Reason.Describe()
	if len(members) != 2 || members["error"] != want.Error || !ok ||
		members["error_description"] != d.Meaning {
		t.Errorf("got body %s, want error %q and description %q", body, want.Error, d.Meaning)
	}
}

func comparePass(t *testing.T, want Want, got Answer) {
	t.Helper()
	told := map[string]string{}
	for _, pair := range strings.Fields(want.Set) {
		name, value, _ := strings.Cut(pair, "=")
		told["x-auth-"+name] = strings.ReplaceAll(value, "+", " ")
	}
	for _, name := range authz.IdentityHeaders() {
		value, tell := told[name]
		if tell != (header(got.Set, name) != "") || tell == slices.Contains(got.Remove, name) ||
			header(got.Set, name) != value {
			t.Errorf("%s: got %q, removed %v; want %q", name, header(got.Set, name),
				slices.Contains(got.Remove, name), value)
		}
	}
	if len(got.Client)+len(got.Metadata) > 0 || got.Parameter != "" || got.Path != "" {
		t.Errorf("the answer has more than it should: %+v", got)
	}
	if len(got.Set) != len(told) {
		t.Errorf("got %v set, want %d headers", got.Set, len(told))
	}
	for _, name := range strings.Fields(want.Strip) {
		if !slices.Contains(got.Remove, name) {
			t.Errorf("%s stays", name)
		}
	}
	compareRemoved(t, got)
}

// compareRemoved: nothing is both set and removed, and nothing is removed that no server takes for
// an identity header, or for one that asks for another method or path.
func compareRemoved(t *testing.T, got Answer) {
	t.Helper()
	for _, name := range got.Remove {
		if header(got.Set, name) != "" {
			t.Errorf("%s is set and removed", name)
		}
		if !BeginsAsIdentity(name) && !TakenFor(name, authz.OverrideHeaders()...) {
			t.Errorf("%s is removed", name)
		}
	}
}

// header returns all values of a header, joined.
func header(headers []authz.Header, name string) string {
	var values []string
	for _, h := range headers {
		if h.Name == name {
			values = append(values, h.Value)
		}
	}
	return strings.Join(values, "|")
}

// RunAttacks sends every hostile token of josetest through a transport, in both places.
func RunAttacks(t *testing.T, start func(*testing.T, *World) Ask) {
	w := New()
	runAttacks(t, w, start(t, w), w.Setup().Attacks())
}

// RunForeignAttacks sends every token that is hostile where the issuer is another's through a
// transport, and those that are not, which must be taken for what they say.
func RunForeignAttacks(t *testing.T, start func(*testing.T, *World) Ask) {
	w := New()
	foreign := Profile()
	foreign.Ours = false
	w.Keys.Trust(foreign, w.Key.Public())
	ask := start(t, w)
	hostile, harmless := w.Setup().ForeignAttacks()
	runAttacks(t, w, ask, hostile)
	for _, a := range harmless {
		t.Run(url.PathEscape(a.Name), func(t *testing.T) {
			Compare(t, Alice, ask(Get("/protected", "authorization", "Bearer "+a.Token)))
		})
	}
}

func runAttacks(t *testing.T, w *World, ask Ask, attacks []josetest.Attack) {
	t.Helper()
	setup := w.Setup()
	Compare(t, Alice, ask(Get("/protected", "authorization", "Bearer "+setup.Good())))
	for _, a := range attacks {
		t.Run(url.PathEscape(a.Name), func(t *testing.T) {
			for _, r := range []authz.Request{
				Get("/protected", "authorization", "Bearer "+a.Token),
				Get("/protected", "x-access-token", a.Token),
			} {
				CompareAttack(t, a, ask(r))
			}
		})
	}
	Compare(t, Alice, ask(Get("/protected", "authorization", "Bearer "+setup.Good())))
	t.Logf("%d hostile tokens, none accepted", len(attacks))
}

// CompareAttack wants a 401 for the attack's reason. Where the token's own spelling breaks the
// header around it, the header's reason comes first.
func CompareAttack(t *testing.T, a josetest.Attack, got Answer) {
	t.Helper()
	reason := header(got.Headers, authz.HeaderReason)
	broken := strings.ContainsAny(a.Token, " \t,") || a.Token == ""
	if got.Status != 401 ||
		(reason != string(a.Reason) && !(broken && (reason == "scheme" || reason == "many_tokens"))) {
		t.Errorf("got %d %s, want 401 %s", got.Status, reason, a.Reason)
	}
}
