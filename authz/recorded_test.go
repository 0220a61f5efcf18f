package authz_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/sallyport/sallyport/authz/authztest"
	"github.com/sallyport/sallyport/internal/jose/josetest"
)

const recordings = "../e2e/issuers/testdata"

// recorded says what becomes of the tokens of an issuer that was run.
type recorded struct {
	entry    string              // less the issuer
	accepted map[string]string   // by the file's name, with roles that it must have
	refused  map[string][]string // by the reason; logout and events stand for all that begin so
}

var recordedIssuers = map[string]recorded{
	"keycloak": {
		entry: `audiences: [orders]
algorithms: [RS256]
typ: JWT
max_lifetime: 15m
required_claims: [typ=Bearer]
claims: {client_id: azp, roles: [/realm_access/roles, /resource_access/orders/roles]}`,
		accepted: map[string]string{
			"access": "admin,reader", "access-refreshed": "admin,reader", "access-offline": "admin,reader",
			"access-audience-by-role": "admin,reader", "access-client": "",
		},
		refused: map[string][]string{
			"subject": {"access-lightweight"}, "audience_missing": {"access-client-lightweight"},
			"audience": {"access-no-audience", "id"}, "claim_required": {"access-bound"},
			"typ": {"logout", "events"}, "alg": {"refresh", "refresh-refreshed", "refresh-offline"},
		},
	},
	"hydra": {
		entry: `audiences: [orders]
algorithms: [RS256]
typ: JWT
required_claims: [client_id, scp]
claims: {scope: scp, session: /ext/sid, roles: [/ext/roles]}`,
		accepted: map[string]string{
			"access": "admin,user", "access-refreshed": "admin,user", "access-client": "",
		},
		refused: map[string][]string{
			"audience": {"access-no-audience", "id"}, "expiry_missing": {"logout"},
		},
	},
	"oidc-provider": {
		entry: "audiences: [orders]\nalgorithms: [RS256]\nmax_lifetime: 10m",
		accepted: map[string]string{
			"access": "admin,user", "access-refreshed": "admin,user", "access-client": "",
		},
		refused: map[string][]string{"typ": {"id", "logout"}},
	},
	"flask": {
		entry: `audiences: [orders]
algorithms: [HS256]
typ: JWT
max_lifetime: 15m
required_claims: [type=access]
claims: {session: none, client_id: none, scope: none}`,
		accepted: map[string]string{
			"access": "admin,user", "access-minimal": "", "access-refreshed": "",
		},
		refused: map[string][]string{"claim_required": {"refresh"}},
	},
	"pyjwt": {
		entry: "audiences: [orders]\nalgorithms: [ES256, RS256, EdDSA]\ntyp: JWT\nmax_lifetime: 15m",
		accepted: map[string]string{
			"access": "admin,user", "access-rs256": "admin,user", "access-eddsa": "admin,user",
			"access-fractional": "admin,user",
		},
	},
	"kubernetes": {
		entry: `audiences: [orders]
algorithms: [RS256]
typ: none
claims: {session: /kubernetes.io/pod/uid, tenant: /kubernetes.io/namespace, scope: none, roles: []}`,
		accepted: map[string]string{"access": "", "access-no-pod": ""},
		refused:  map[string][]string{"audience": {"access-default"}, "unknown_issuer": {"access-secret"}},
	},
	"spire": {
		entry: `audiences: [orders]
algorithms: [ES256]
typ: JWT
max_lifetime: 5m
token_id: none
claims: {client_id: none, session: none, scope: none, roles: []}`,
		accepted: map[string]string{"access": ""},
	},
}

// TestTokensOfIssuersThatWereRun: their own bytes, blanks and all, signed by our keys, become what
// the table says, and none is left out of it.
func TestTokensOfIssuersThatWereRun(t *testing.T) {
	folders, err := filepath.Glob(filepath.Join(recordings, "*", "VERSION"))
	if err != nil || len(folders) != len(recordedIssuers) {
		t.Fatalf("expected recordings of %d issuers, got %v, %v", len(recordedIssuers), folders, err)
	}
	for _, version := range folders {
		folder := filepath.Dir(version)
		r, ok := recordedIssuers[filepath.Base(folder)]
		if !ok {
			t.Fatalf("%s: expected an issuer that the table knows", folder)
		}
		var access struct{ Iss string }
		readJSON(t, filepath.Join(folder, "access.claims.json"), &access)
		s := shape{entry: "issuer: " + access.Iss + "\n" + r.entry}
		names := tokensIn(t, folder)
		for _, name := range names {
			t.Run(filepath.Base(folder)+"/"+name, func(t *testing.T) { r.judge(t, s, folder, name) })
		}
		for name := range r.accepted {
			if !slices.Contains(names, name) {
				t.Errorf("%s: expected a token %s", folder, name)
			}
		}
	}
}

// tokensIn returns the names of an issuer's recorded tokens.
func tokensIn(t *testing.T, folder string) (names []string) {
	t.Helper()
	headers, err := filepath.Glob(filepath.Join(folder, "*.header.json"))
	if err != nil || len(headers) == 0 {
		t.Fatalf("%s: expected recorded tokens, got %v, %v", folder, headers, err)
	}
	for _, h := range headers {
		names = append(names, strings.TrimSuffix(filepath.Base(h), ".header.json"))
	}
	return names
}

func (r recorded) judge(t *testing.T, s shape, folder, name string) {
	header := readText(t, filepath.Join(folder, name+".header.json"))
	claims := readText(t, filepath.Join(folder, name+".claims.json"))
	alg := "RS256"
	if strings.Contains(s.entry, "HS256") {
		alg = "HS256"
	}
	profile := s.load(t, alg)
	var h struct{ Alg string }
	unmarshal(t, header, &h)
	w := authztest.New()
	var presented string
	if strings.HasPrefix(h.Alg, "HS") && alg != "HS256" { // a secret that only the issuer has
		w.Keys.Trust(&profile, josetest.NewKey(alg, "k").Public())
		presented = josetest.MAC(h.Alg, header, claims, []byte(sharedSecret))
	} else {
		key, sign := keyFor(t, header)
		w.Keys.Trust(&profile, key)
		presented = sign(header, claims)
	}
	var c struct {
		Sub, Jti string
		Iat      json.Number
	}
	unmarshal(t, claims, &c)
	if iat, err := c.Iat.Float64(); err == nil {
		w.Now = time.Unix(int64(iat)+1, 0)
	}
	d := w.Engine(nil).Decide(protected(presented))
	roles, wanted := r.accepted[name]
	if !wanted {
		if reason := r.reasonFor(name); reason == "" || d.Reason() != reason {
			t.Errorf("expected it to be refused as %q, got %s (%s)", reason, d.Reason(), d.Detail())
		}
		return
	}
	if !d.Allow {
		t.Fatalf("refused: %s (%s)", d.Reason(), d.Detail())
	}
	got := d.Identity.Claims
	if got.Subject != c.Sub || profile.TokenID != "none" && got.ID != c.Jti || got.Subject == "" {
		t.Errorf("got %s", shown(got))
	}
	for role := range strings.SplitSeq(roles, ",") {
		if role != "" && !slices.Contains(got.Roles, role) {
			t.Errorf("expected the role %s, got %v", role, got.Roles)
		}
	}
}

func (r recorded) reasonFor(name string) string {
	for reason, names := range r.refused {
		kind, _, _ := strings.Cut(name, "-")
		if slices.Contains(names, name) ||
			(kind == "logout" || kind == "events") && slices.Contains(names, kind) {
			return reason
		}
	}
	return ""
}

func readText(t *testing.T, file string) string {
	t.Helper()
	content, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return string(content)
}

func readJSON(t *testing.T, file string, to any) {
	t.Helper()
	unmarshal(t, readText(t, file), to)
}

func unmarshal(t *testing.T, text string, to any) {
	t.Helper()
	if err := json.Unmarshal([]byte(text), to); err != nil {
		t.Fatalf("%s: %v", text, err)
	}
}
