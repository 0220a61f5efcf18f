package issuer

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/sallyport/sallyport/internal/revocation"
	"github.com/sallyport/sallyport/internal/revocation/redislog"
	"github.com/sallyport/sallyport/internal/session/sessiontest"
)

const keycloak = "https://keycloak.example/realms/main"

// TestSessionsElsewhereLiveAsLongAsTheSettingsSay: an issuer that is named with a time for as long,
// every other one for as long as any session, and this one's end with their revocation.
func TestSessionsElsewhereLiveAsLongAsTheSettingsSay(t *testing.T) {
	c := testConfig()
	c.Revocation.MaxSessionLifetime = 800 * time.Hour
	c.OtherIssuers = []OtherIssuer{
		{Issuer: keycloak, MaxSessionLifetime: 10 * time.Hour},
		{Issuer: "https://login.example/", MaxSessionLifetime: 2000 * time.Hour},
		{Issuer: "https://plain.example"},
	}
	if err := c.Validate(); err != nil {
		t.Fatal(err)
	}
	for issuer, want := range map[string]time.Duration{
		c.Issuer:                 0,
		keycloak:                 10 * time.Hour,
		"https://login.example/": 2000 * time.Hour,
		"https://login.example":  800 * time.Hour,
		"https://plain.example":  800 * time.Hour,
		"https://nobody.example": 800 * time.Hour,
	} {
		if got := c.SessionLifetime(issuer); got != want {
			t.Errorf("%s: got %s, expected %s", issuer, got, want)
		}
	}
}

// TestMistakesInOtherIssuersNameTheirPlace: file, line, and what to write.
func TestMistakesInOtherIssuersNameTheirPlace(t *testing.T) {
	for text, want := range map[string]string{
		"- max_session_lifetime: 1h":                                                  "other_issuers[0].issuer: issuer: expected the iss of its tokens, got nothing",
		"- {issuer: https://login.example}":                                           "expected another issuer, got this one",
		"- {issuer: https://a.example}\n- {issuer: https://a.example}":                "other_issuers[1].issuer: issuer: expected each issuer once",
		"- {issuer: https://a.example, max_session_lifetime: -1h}":                    "other_issuers[0].max_session_lifetime: issuer: expected 1s to 87600h0m0s, got -1h0m0s",
		"- {issuer: https://a.example, max_session_lifetime: 100000h}":                "got 100000h0m0s",
		"- {issuer: https://a.example, max_session_lifetime: 10ms}":                   "got 10ms",
		"- {issuer: https://a.example, session_lifetime: 1h}":                         "session_lifetime",
		"- {issuer: https://a.example, max_session_lifetime: forever}":                "max_session_lifetime",
		"- {issuer: https://a.example, max_session_lifetime: 1h, max_lifetime: \"\"}": "max_lifetime",
	} {
		_, err := load(t, goodConfig+"other_issuers:\n"+text+"\n")
		if err == nil || !strings.Contains(err.Error(), want) ||
			!strings.Contains(err.Error(), "issuer.yaml:") {
			t.Errorf("%s: got %v, expected a place and %q", text, err, want)
		}
	}
}

// TestNoSessionMayLiveLongerThanTheLogCanSay: an entry that nobody could read would stop all gates.
func TestNoSessionMayLiveLongerThanTheLogCanSay(t *testing.T) {
	c := redislog.DefaultConfig()
	c.MaxSessionLifetime = revocation.LongestSession + time.Hour
	if err := c.Validate(); err == nil || !strings.Contains(err.Error(), "max_session_lifetime") {
		t.Errorf("got %v", err)
	}
}

// TestAnOperatorIsToldWhatGoesOnElsewhere: what a revocation at another issuer does not end, and
// until when it holds; of this issuer's sessions, which it ends, nothing of that.
func TestAnOperatorIsToldWhatGoesOnElsewhere(t *testing.T) {
	h := onMiniredis(t, nil)
	now, _ := h.log.Time()
	until := now.Add(sessiontest.Kept).UTC().Truncate(time.Millisecond)
	a := h.login("alice")
	for name, c := range map[string]struct {
		members []string
		effect  string
	}{
		"a session there": {
			[]string{"kind", "sid", "value", "s", "issuer", keycloak},
			"The session is not ended there: end it at its issuer, too.",
		},
		"a user there": {
			[]string{"kind", "sub", "value", "alice", "issuer", keycloak},
			"Nobody is logged out there: end the sessions at their issuer, too.",
		},
		"a client there": {
			[]string{"kind", "client", "value", "app", "issuer", keycloak},
			"Sessions of another issuer go on there, and their next tokens are accepted.",
		},
		"a session here": {[]string{"kind", "sid", "value", h.claims(a.str("access_token")).SessionID}, ""},
		"a user here":    {[]string{"kind", "sub", "value", "alice"}, ""},
	} {
		out := h.operate(http.MethodPost, "/admin/revocations", body(c.members...))
		wantStatus(t, out, http.StatusOK, "")
		if !strings.HasSuffix(out.str("effect"), c.effect) || (c.effect == "") != (out.str("effect") == "") {
			t.Errorf("%s: got %s", name, out.text)
		}
		want := ""
		if c.effect != "" {
			want = until.Format(time.RFC3339Nano)
		}
		if out.str("until") != want {
			t.Errorf("%s: until %q, expected %q", name, out.str("until"), want)
		}
	}
}

// TestWhatIsSaidOfTenantsHoldsForEachOfThem, as in an issuer's name at gates.
func TestWhatIsSaidOfTenantsHoldsForEachOfThem(t *testing.T) {
	c := DefaultConfig()
	c.Issuer = issuerURL
	c.OtherIssuers = []OtherIssuer{{
		Issuer: "https://login.example/{tenantid}/v2.0", MaxSessionLifetime: 8760 * time.Hour,
	}}
	for tenant, want := range map[string]time.Duration{
		"72f988bf-86f1-41af-91ab-2d7cd011db47": 8760 * time.Hour,
		"somebody":                             c.Revocation.MaxSessionLifetime,
	} {
		if got := c.SessionLifetime("https://login.example/" + tenant + "/v2.0"); got != want {
			t.Errorf("%s: got %s, want %s", tenant, got, want)
		}
	}
}
