package extauthz

import (
	"slices"
	"strings"
	"testing"

	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/sallyport/sallyport/authz"
	"github.com/sallyport/sallyport/authz/authztest"
	"github.com/sallyport/sallyport/authz/check"
	"github.com/sallyport/sallyport/authz/extauthz/door"
	"github.com/sallyport/sallyport/internal/policy"
	"github.com/sallyport/sallyport/internal/token"
)

// telling is a world whose policy makes headers of claims, and metadata.
func telling(t *testing.T) *authztest.World {
	t.Helper()
	w := authztest.New()
	var err error
	w.Policy, err = policy.Compile(policy.Config{
		Metadata: map[string]string{"tenant": "/tenant", "all": "/all"},
		Routes: []policy.Route{
			{
				Match:           policy.Match{Path: "/tell"},
				Headers:         map[string]string{"x-tenant": "/tenant", "x-auth-email": "/email"},
				ResponseHeaders: map[string]string{"x-user": "/sub"},
			},
			{Match: policy.Match{Path: "/plain"}},
			{Match: policy.Match{Path: "/public"}, Allow: "public"},
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	return w
}

func foreign(w *authztest.World, path string, headers ...string) authz.Request {
	claims := w.ForeignClaims().And("tenant", `"acme"`).And("email", `"zoe@example.com"`).
		And("all", `{"n":1.5,"b":true,"s":"x","l":[1,null],"big":1e999}`)
	token := w.ForeignKey.Token(w.ForeignKey.Header("JWT").JSON(), claims.JSON())
	return authztest.Get(path, append([]string{"authorization", "Bearer " + token}, headers...)...)
}

func valuesOf(t *testing.T, r *authv3.CheckResponse) (upstream, client map[string]string) {
	t.Helper()
	upstream, client = map[string]string{}, map[string]string{}
	for _, h := range headersOf(t, r.GetOkResponse().GetHeaders()) {
		upstream[h.Name] = h.Value
	}
	told := authztest.WithoutID(t, 200, headersOf(t, r.GetOkResponse().GetResponseHeadersToAdd()))
	for _, h := range told {
		client[h.Name] = h.Value
	}
	return upstream, client
}

// TestAnAnswerTellsClaims: to the upstream, to the client, and to Envoy's other filters.
func TestAnAnswerTellsClaims(t *testing.T) {
	b := start(t, telling(t))
	for _, extra := range [][]string{nil, {"x_tenant", "mallory"}} { // made once, and for one request
		r := b.send(t, encoded(foreign(b.world, "/tell", extra...), false))
		upstream, client := valuesOf(t, r)
		if upstream["x-tenant"] != "acme" || upstream["x-auth-email"] != "zoe@example.com" ||
			upstream[authz.HeaderSubject] != "zoe" || client["x-user"] != "zoe" || len(client) != 1 {
			t.Errorf("the upstream is told %v, the client %v", upstream, client)
		}
		if extra != nil && !slices.Contains(r.GetOkResponse().GetHeadersToRemove(), "x_tenant") {
			t.Errorf("a client's own stays: removed are %v", r.GetOkResponse().GetHeadersToRemove())
		}
		want, err := structpb.NewStruct(map[string]any{metadataKey: map[string]any{
			"tenant": "acme",
			"all": map[string]any{
				"n": 1.5, "b": true, "s": "x", "l": []any{1, nil}, "big": "1e999",
			},
		}})
		if err != nil {
			t.Fatal(err)
		}
		if got := r.GetDynamicMetadata(); got.String() != want.String() {
			t.Errorf("the metadata are %v, want %v", got, want)
		}
		upstream, client = valuesOf(t, b.send(t, encoded(foreign(b.world, "/plain", extra...), false)))
		if upstream["x-tenant"] != "" || upstream[authz.HeaderSubject] != "zoe" || len(client) != 0 {
			t.Errorf("another route tells the upstream %v, the client %v", upstream, client)
		}
	}
}

// TestWhereTheGateStripsItNamesHeadersOfClaims in every spelling, seen or not.
func TestWhereTheGateStripsItNamesHeadersOfClaims(t *testing.T) {
	b := start(t, telling(t), func(c *Config) { c.Strip = door.StripAll })
	for _, path := range []string{"/tell", "/plain", "/public"} {
		for _, extra := range [][]string{nil, {"x~tenant", "mallory"}} {
			r := b.send(t, encoded(foreign(b.world, path, extra...), false))
			removed := r.GetOkResponse().GetHeadersToRemove()
			upstream, _ := valuesOf(t, r)
			for _, name := range []string{
				"x_tenant", "x.tenant", "x_auth-email", "x.auth_email", "x_auth_subject",
			} {
				if !slices.Contains(removed, name) {
					t.Errorf("%s: %s stays", path, name)
				}
			}
			if (upstream["x-tenant"] == "") != slices.Contains(removed, "x-tenant") {
				t.Errorf("%s: x-tenant is %q, removed %v", path, upstream["x-tenant"], removed)
			}
		}
	}
}

// TestEnvoySaysThatItStripsHeadersOfClaims, or nothing passes: but for names that begin with x-auth-,
// which its patterns have anyway.
func TestEnvoySaysThatItStripsHeadersOfClaims(t *testing.T) {
	b := start(t, telling(t), byEnvoy)
	for mark, ok := range map[string]bool{
		"1": false, "1,x-tenant": true, "1,x-other,x-tenant": true, "1,x-other": false,
		"x-tenant": false, "1x-tenant": false, "1,1,x-tenant": false, "1,x-tenants": false, "1,": false,
		"1, x-tenant": false,
	} {
		for _, path := range []string{"/tell", "/plain", "/public"} {
			got := b.send(t, encoded(foreign(b.world, path, check.HeaderStripped, mark), false))
			if (got.GetStatus().GetCode() == 0) != ok {
				t.Errorf("%s with %q: %v", path, mark, got)
			}
		}
	}
	for _, line := range b.lines.All() {
		if line.Reason != string(token.ReasonNotStripped) {
			t.Errorf("refused for %s", line.Reason)
		}
	}
	got := b.send(
		t,
		encoded(foreign(b.world, "/tell", check.HeaderStripped, "1,x-tenant", "x.tenant", "y"), false),
	)
	if got.GetStatus().GetCode() == 0 {
		t.Error("a header that Envoy was to remove passes")
	}
}

// TestNotesSayWhatEnvoyHasToBeTold of headers that are made of claims, and of those that are gone by.
func TestNotesSayWhatEnvoyHasToBeTold(t *testing.T) {
	for name, row := range map[string]struct {
		strip           string
		claims, matched []string
		want            []string
	}{
		"nothing":           {strip: door.StripEnvoy},
		"names that are in": {strip: door.StripEnvoy, claims: []string{"x-auth-email"}, matched: []string{"user-agent"}},
		"another name": {
			strip: door.StripEnvoy, claims: []string{"x-auth-email", "x-tenant", "x-user-id"},
			want: []string{`regex: "x[^a-z0-9]tenant|x[^a-z0-9]user[^a-z0-9]id"`, `its value "1,x-tenant,x-user-id"`},
		},
		"where the gate strips": {strip: door.StripAll, claims: []string{"x-tenant"}},
		"gone by":               {strip: door.StripAll, matched: []string{"x-beta"}, want: []string{"have x-beta in allowed_headers"}},
	} {
		notes := strings.Join(Config{Strip: row.strip}.HeaderNotes(row.claims, row.matched), "\n")
		for _, want := range row.want {
			if !strings.Contains(notes, want) {
				t.Errorf("%s: expected %q in %q", name, want, notes)
			}
		}
		if len(row.want) == 0 && notes != "" {
			t.Errorf("%s: %q", name, notes)
		}
	}
}
