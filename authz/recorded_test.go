package authz_test

import (
	"cmp"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/sallyport/sallyport/authz/authztest"
	"github.com/sallyport/sallyport/internal/jose/josetest"
	"github.com/sallyport/sallyport/internal/token"
)

const recordings = "../e2e/issuers/testdata"

// recorded says what becomes of the tokens of an issuer that was run.
type recorded struct {
	example  string              // whose entry of the examples; the folder's name unless said
	accepted map[string]string   // by the file's name, with roles that it must have
	refused  map[string][]string // by the reason; logout and events stand for all that begin so
}

var recordedIssuers = map[string]recorded{
	"keycloak": {
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
		accepted: map[string]string{
			"access": "admin,user", "access-refreshed": "admin,user", "access-client": "",
		},
		refused: map[string][]string{
			"audience": {"access-no-audience", "id"}, "expiry_missing": {"logout"},
		},
	},
	"oidc-provider": {
		accepted: map[string]string{
			"access": "admin,user", "access-refreshed": "admin,user", "access-client": "",
		},
		refused: map[string][]string{"typ": {"id", "logout"}},
	},
	"flask": {
		example: "flask-jwt-extended",
		accepted: map[string]string{
			"access": "admin,user", "access-minimal": "", "access-refreshed": "",
		},
		refused: map[string][]string{"claim_required": {"refresh"}},
	},
	"pyjwt": {
		accepted: map[string]string{
			"access": "admin,user", "access-rs256": "admin,user", "access-eddsa": "admin,user",
			"access-fractional": "admin,user",
		},
	},
	"kubernetes": {
		accepted: map[string]string{"access": "", "access-no-pod": ""},
		refused:  map[string][]string{"audience": {"access-default"}, "unknown_issuer": {"access-secret"}},
	},
	"spire": {
		accepted: map[string]string{"access": ""},
	},
}

// isRecorded reports whether there are tokens of an issuer that was run for an example.
func isRecorded(example string) bool {
	for folder, r := range recordedIssuers {
		if cmp.Or(r.example, folder) == example {
			return true
		}
	}
	return false
}

// TestTokensOfIssuersThatWereRun: their own bytes, blanks and all, signed by our keys, become under
// the entries of the examples what the table says, and none is left out of it.
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
		example := cmp.Or(r.example, filepath.Base(folder))
		profile := loadIssuer(t, filepath.Join(exampleIssuers, example+".yaml")).Profile
		profile.Issuer = access.Iss
		names := tokensIn(t, folder)
		for _, name := range names {
			t.Run(filepath.Base(folder)+"/"+name, func(t *testing.T) { r.judge(t, profile, folder, name) })
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

func (r recorded) judge(t *testing.T, profile token.Profile, folder, name string) {
	header := readText(t, filepath.Join(folder, name+".header.json"))
	claims := readText(t, filepath.Join(folder, name+".claims.json"))
	var h struct{ Alg string }
	unmarshal(t, header, &h)
	w := authztest.New()
	var presented string
	if !slices.Contains(profile.Algorithms, h.Alg) && strings.HasPrefix(h.Alg, "HS") {
		// a secret that only the issuer has
		w.Keys.Trust(&profile, josetest.NewKey(profile.Algorithms[0], "k").Public())
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
