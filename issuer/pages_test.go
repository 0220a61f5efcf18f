package issuer

import (
	"net/http"
	"strings"
	"testing"
)

const trustedPage = "https://app.example.com"

// from sends a request as a browser does for a page of an origin.
func (h *house) from(origin, method, path, body string, headers ...string) answer {
	h.t.Helper()
	headers = append(headers, "Origin", origin, "Sec-Fetch-Site", "cross-site")
	if body != "" {
		headers = append(headers, "Content-Type", "application/json")
	}
	return h.request(method, path, body, headers...)
}

func (h *house) request(method, path, body string, headers ...string) answer {
	h.t.Helper()
	return h.do(method, h.url+path, body, func(r *http.Request) {
		for i := 0; i < len(headers); i += 2 {
			r.Header.Set(headers[i], headers[i+1])
		}
	})
}

// TestAPageOnAnotherHostLogsInWhenItIsNamed, and only then: it may send requests and read answers,
// refusals too.
func TestAPageOnAnotherHostLogsInWhenItIsNamed(t *testing.T) {
	h := onMiniredis(t, func(c *Config) { c.HTTP.TrustedOrigins = []string{trustedPage} })
	const credentials = `{"username":"alice","password":"` + password + `"}`
	a := h.from(trustedPage, "OPTIONS", "/login", "", "Access-Control-Request-Method", "POST")
	if a.status != http.StatusNoContent || a.header.Get("Access-Control-Allow-Methods") != "POST" ||
		a.header.Get("Access-Control-Allow-Headers") != "authorization, content-type" || a.text != "" {
		t.Errorf("a preflight: %d %v", a.status, a.header)
	}
	a = h.from(trustedPage, "POST", "/login", credentials)
	if a.status != http.StatusOK || a.header.Get("Access-Control-Allow-Origin") != trustedPage ||
		a.header.Get("Access-Control-Allow-Credentials") != "" || a.header.Get("Vary") != "Origin" {
		t.Errorf("a login: %d %v", a.status, a.header)
	}
	a = h.from(trustedPage, "POST", "/login", `{"username":"alice","password":"wrong"}`)
	if a.status != http.StatusUnauthorized ||
		a.header.Get("Access-Control-Allow-Origin") != trustedPage {
		t.Errorf("a wrong password: %d %v", a.status, a.header)
	}
	a = h.from(trustedPage, "GET", "/.well-known/jwks.json", "")
	if a.status != http.StatusOK || a.header.Get("Access-Control-Allow-Origin") != trustedPage {
		t.Errorf("the keys: %d %v", a.status, a.header)
	}
	for name, origin := range map[string]string{
		"another page": "https://evil.example.com", "nobody": "null",
		"a longer name": trustedPage + ".evil.example", "another scheme": "http://app.example.com",
	} {
		a = h.from(origin, "POST", "/login", credentials)
		if a.status != http.StatusForbidden || a.header.Get("Access-Control-Allow-Origin") != "" {
			t.Errorf("%s: %d %v", name, a.status, a.header)
		}
		a = h.from(origin, "OPTIONS", "/login", "", "Access-Control-Request-Method", "POST")
		if a.status != http.StatusMethodNotAllowed || a.header.Get("Access-Control-Allow-Origin") != "" {
			t.Errorf("a preflight of %s: %d %v", name, a.status, a.header)
		}
	}
	a = h.from(trustedPage, "OPTIONS", "/login", "", "Access-Control-Request-Method", "DELETE")
	if a.status != http.StatusMethodNotAllowed {
		t.Errorf("a preflight for another method: %d", a.status)
	}
}

// TestNoPageIsTrustedThatIsNotNamed: nothing is said to browsers by default.
func TestNoPageIsTrustedThatIsNotNamed(t *testing.T) {
	h := onMiniredis(t, nil)
	a := h.from(trustedPage, "POST", "/login", `{"username":"alice","password":"`+password+`"}`)
	if a.status != http.StatusForbidden || a.header.Get("Access-Control-Allow-Origin") != "" {
		t.Errorf("got %d %v", a.status, a.header)
	}
}

// TestTheAccessTokenIsCalledAsClientsExpect, in the answers to a login and a refresh.
func TestTheAccessTokenIsCalledAsClientsExpect(t *testing.T) {
	for _, name := range tokenNames {
		h := onMiniredis(t, func(c *Config) { c.TokenName = name })
		a := h.request("POST", "/login", `{"username":"alice","password":"`+password+`"}`,
			"Content-Type", "application/json")
		b := h.request("POST", "/refresh", `{"refresh_token":"`+a.str("refresh_token")+`"}`,
			"Content-Type", "application/json")
		for what, a := range map[string]answer{"login": a, "refresh": b} {
			if a.status != http.StatusOK || strings.Count(a.str(name), ".") != 2 ||
				a.str("token_type") != "Bearer" {
				t.Errorf("%s with %s: %d", what, name, a.status)
			}
			for _, other := range tokenNames {
				if other != name && a.str(other) != "" {
					t.Errorf("%s with %s: there is %s, too", what, name, other)
				}
			}
		}
	}
}

func TestSettingsForPagesAreChecked(t *testing.T) {
	for want, change := range map[string]func(*Config){
		"http.trusted_origins[0]": func(c *Config) { c.HTTP.TrustedOrigins = []string{"*"} },
		"http.trusted_origins[1]": func(c *Config) { c.HTTP.TrustedOrigins = []string{trustedPage, "null"} },
		"token_name":              func(c *Config) { c.TokenName = "jwt" },
	} {
		c := testConfig()
		change(&c)
		if err := c.Validate(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v", want, err)
		}
	}
}

// TestWhoComesByIsToldWhatThisIs in JSON: at / and where there is nothing.
func TestWhoComesByIsToldWhatThisIs(t *testing.T) {
	h := onMiniredis(t, nil)
	a := h.request("GET", "/", "")
	if a.status != http.StatusOK || a.header.Get("Content-Type") != "application/json" ||
		!strings.Contains(a.str("message"), metadataPath) {
		t.Errorf("/: %d %s", a.status, a.text)
	}
	for _, path := range []string{"/index.html", "/api", "/favicon.ico"} {
		a := h.request("GET", path, "")
		if a.status != http.StatusNotFound || a.header.Get("Content-Type") != "application/json" ||
			!strings.Contains(a.str("error_description"), metadataPath) {
			t.Errorf("%s: %d %s", path, a.status, a.text)
		}
	}
	if a := h.request("POST", "/", ""); a.status != http.StatusMethodNotAllowed {
		t.Errorf("POST /: %d", a.status)
	}
}
