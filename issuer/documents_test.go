package issuer

import (
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/sallyport/sallyport/internal/jose"
)

func TestTheKeySetMayBeKeptAndAskedForAgain(t *testing.T) {
	h := onMiniredis(t, nil)
	a := h.do(http.MethodGet, h.url+"/.well-known/jwks.json", "")
	keys, skipped, err := jose.ParseKeySet([]byte(a.text))
	if err != nil || len(skipped) > 0 || len(keys) != 1 || keys[0].ID() != h.keys.private.ID() {
		t.Fatalf("got %d keys, %v, %v", len(keys), skipped, err)
	}
	tag := a.header.Get("Etag")
	if a.header.Get("Cache-Control") != "public, max-age=300" || tag == "" ||
		a.header.Get("Content-Type") != "application/jwk-set+json" {
		t.Errorf("got headers %v", a.header)
	}
	for _, known := range []string{tag, "W/" + tag, `"x", ` + tag, "*"} {
		again := h.do(http.MethodGet, h.url+"/.well-known/jwks.json", "",
			withHeader("If-None-Match", known))
		if again.status != http.StatusNotModified || again.text != "" || again.header.Get("Etag") != tag {
			t.Errorf("%s: got %d %s", known, again.status, again.text)
		}
	}
	again := h.do(http.MethodGet, h.url+"/.well-known/jwks.json", "",
		withHeader("If-None-Match", `"other"`))
	if again.status != http.StatusOK {
		t.Errorf("another tag: got %d", again.status)
	}
	head := h.do(http.MethodHead, h.url+"/.well-known/jwks.json", "")
	if head.status != http.StatusOK || head.header.Get("Etag") != tag {
		t.Errorf("HEAD: got %d", head.status)
	}
}

func TestNoAnswerHoldsAPrivateKey(t *testing.T) {
	h := onMiniredis(t, nil)
	a := h.login("alice")
	answers := []answer{
		a,
		h.refresh(a.str("refresh_token")),
		h.post("/logout", "", bearer(a.str("access_token"))),
		h.post("/login", "{}"),
	}
	for _, e := range h.server.endpoints() {
		answers = append(answers, h.do(http.MethodGet, h.url+e.Path, ""))
	}
	for _, a := range answers {
		var walk func(v any)
		walk = func(v any) {
			switch v := v.(type) {
			case map[string]any:
				for name, member := range v {
					if slices.Contains([]string{"d", "p", "q", "dp", "dq", "qi", "k", "oth"}, name) {
						t.Errorf("an answer holds the member %s", name)
					}
					walk(member)
				}
			case []any:
				for _, member := range v {
					walk(member)
				}
			}
		}
		walk(a.json)
		if strings.Contains(a.text, "PRIVATE") {
			t.Error("an answer holds a PEM key")
		}
	}
}

func TestTheMetadataOffersNothingThatIsNotThere(t *testing.T) {
	h := onMiniredis(t, nil)
	a := h.do(http.MethodGet, h.url+"/.well-known/oauth-authorization-server", "")
	var d map[string]any
	if err := json.Unmarshal([]byte(a.text), &d); err != nil {
		t.Fatal(err)
	}
	want := map[string]string{
		"issuer":           issuerURL,
		"jwks_uri":         issuerURL + "/.well-known/jwks.json",
		"login_endpoint":   issuerURL + "/login",
		"refresh_endpoint": issuerURL + "/refresh",
		"logout_endpoint":  issuerURL + "/logout",
	}
	for name, value := range d {
		switch v := value.(type) {
		case string:
			if want[name] != v {
				t.Errorf("%s: got %q, expected %q", name, v, want[name])
			}
		case []any:
			if len(v) != 0 {
				t.Errorf("%s offers %v", name, v)
			}
		default:
			t.Errorf("%s: got %v", name, v)
		}
	}
	if len(d) != len(want)+2 {
		t.Errorf("got %v", d)
	}
}

func TestAnIssuerWithAPathHasItsMetadataBehindTheWellKnownPlace(t *testing.T) {
	h := onMiniredis(t, func(c *Config) { c.Issuer = issuerURL + "/realms/one" })
	a := h.do(http.MethodGet, h.url+"/.well-known/oauth-authorization-server/realms/one", "")
	if a.status != http.StatusOK || a.str("issuer") != issuerURL+"/realms/one" {
		t.Errorf("got %d %s", a.status, a.text)
	}
}

func TestAServerIsNotMadeOfHalfItsParts(t *testing.T) {
	if _, err := New(Options{Config: testConfig()}); err == nil {
		t.Error("made without keys, users, sessions and log")
	}
}
