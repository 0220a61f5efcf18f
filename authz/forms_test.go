package authz_test

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/sallyport/sallyport/authz"
	"github.com/sallyport/sallyport/authz/authztest"
	"github.com/sallyport/sallyport/internal/policy"
	"github.com/sallyport/sallyport/internal/revocation"
	"github.com/sallyport/sallyport/internal/token"
)

// refusing is an engine that refuses in one form, and on /other in JSON.
func refusing(t testing.TB, how policy.Refusals) (*authztest.World, *authz.Engine) {
	t.Helper()
	w := authztest.New()
	profile := authztest.ForeignProfile()
	profile.RequiredClaims = []string{"type=access"}
	w.Keys.Trust(profile, w.ForeignKey.Public())
	var err error
	w.Policy, err = policy.Compile(policy.Config{
		Refusals: how,
		Routes: []policy.Route{
			{Match: policy.Match{Path: "/other"}, Refusals: policy.Refusals{As: policy.RefuseJSON}},
			{Match: policy.Match{Path: "/fresh"}, Require: policy.Require{Fresh: time.Minute}},
			{Match: policy.Match{Path: "/q"}, QueryToken: "t"},
			{Match: policy.Match{Path: "/scoped"}, Require: policy.Require{Scopes: []string{"a"}}},
			{Match: policy.Match{Path: "/**"}},
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	return w, w.Engine(nil)
}

// TestRefusalsAreThoseOfFlaskJWTExtended 4.7.4, byte for byte, for what it has words for. It takes
// `bearer` in small letters for another scheme, searches a list with commas for a token, and takes a
// token that has no subject twice.
func TestRefusalsAreThoseOfFlaskJWTExtended(t *testing.T) {
	w, engine := refusing(t, policy.Refusals{As: policy.RefuseFlaskJWT})
	access := func(claims ...string) string {
		return "Bearer " + zoe(w, append([]string{"type", `"access"`}, claims...)...)
	}
	good := access()
	with := func(name, raw string) string {
		all := w.ForeignClaims().And("type", `"access"`)
		if raw == "" {
			all = all.Without(name)
		} else {
			all = all.With(name, raw)
		}
		return "Bearer " + w.ForeignKey.Token(w.ForeignKey.Header("JWT").JSON(), all.JSON())
	}
	dated := func(iat, exp string) string {
		all := w.ForeignClaims().And("type", `"access"`).With("iat", iat).With("exp", exp)
		return "Bearer " + w.ForeignKey.Token(w.ForeignKey.Header("JWT").JSON(), all.JSON())
	}
	const (
		another = "Missing 'Bearer' type in 'Authorization' header. Expected 'Authorization: Bearer <JWT>'"
		bad     = "Bad Authorization header. Expected 'Authorization: Bearer <JWT>'"
	)
	for name, row := range map[string]struct {
		path, authorization string
		status              int
		msg                 string
	}{
		"no header":            {"/a", "", 401, "Missing Authorization Header"},
		"another scheme":       {"/a", "Token x", 401, another},
		"a scheme alone":       {"/a", "Bearer", 422, bad},
		"a scheme and a space": {"/a", "Bearer ", 422, bad},
		"two words":            {"/a", "Bearer a b", 422, bad},
		"one segment":          {"/a", "Bearer x", 422, "Not enough segments"},
		"two segments":         {"/a", "Bearer a.b", 422, "Not enough segments"},
		"three that are none":  {"/a", "Bearer a.b.c", 422, "Invalid header padding"},
		"a bad signature":      {"/a", good[:len(good)-8] + "AAAAAAAA", 422, "Signature verification failed"},
		"another algorithm":    {"/a", "Bearer " + w.Key.Token(w.Key.Header("JWT").JSON(), w.ForeignClaims().JSON()), 422, "The specified alg value is not allowed"},
		"expired":              {"/a", dated("1893553000", "1893553100"), 401, "Token has expired"},
		"a refresh token":      {"/a", "Bearer " + zoe(w, "type", `"refresh"`), 422, "Only non-refresh tokens are allowed"},
		"not fresh":            {"/fresh", good, 401, "Fresh token required"},
		"an integer subject":   {"/a", with("sub", "7"), 422, "Subject must be a string"},
		"no subject":           {"/a", with("sub", ""), 422, "Missing claim: sub"},
		"not valid yet":        {"/a", access("nbf", "4000000000"), 422, "The token is not yet valid (nbf)"},
		"issued in the future": {"/a", dated("1893560000", "1893560060"), 422, "The token is not yet valid (iat)"},
		"a form of the gate's": {"/scoped", good, 403, "The token lacks a scope that the route asks for."},
		"a path of none":       {"/a/../b", good, 400, ""},
		"an algorithm none":    {"/a", "Bearer eyJhbGciOiJub25lIn0.e30.", 422, "The specified alg value is not allowed"},
		"an unsigned one":      {"/a", good[:strings.LastIndexByte(good, '.')+1], 422, "Signature verification failed"},
	} {
		var headers []string
		if row.authorization != "" {
			headers = []string{"authorization", row.authorization}
		}
		r := authztest.Get(row.path, headers...)
		d := engine.Decide(&r)
		refused := d.Refused()
		if want := `{"msg":"` + row.msg + "\"}\n"; d.Allow || refused.Status != row.status ||
			refused.Body != want && row.msg != "" {
			t.Errorf("%s (%s): got %d %s, want %d %s", name, refused.Reason, refused.Status, refused.Body,
				row.status, want)
		}
		if got := values(refused.Headers); got["www-authenticate"] != "" ||
			got["content-type"] != "application/json" {
			t.Errorf("%s: headers %v", name, got)
		}
	}
	w.Revocations.Revoke(func(*revocation.Facts) bool { return true })
	r := authztest.Get("/a", "authorization", good)
	if d := engine.Decide(&r); d.Refused().Status != 401 ||
		d.Refused().Body != "{\"msg\":\"Token has been revoked\"}\n" {
		t.Errorf("revoked: got %d %s", d.Refused().Status, d.Refused().Body)
	}
}

func TestRefusalsAreThoseOfASmallFlaskApplication(t *testing.T) {
	w, engine := refusing(t, policy.Refusals{As: policy.RefuseFlask})
	for authorization, want := range map[string]string{
		"":         "{\"message\":\"Token is missing!\"}\n",
		"Bearer x": "{\"message\":\"Token is invalid!\"}\n",
		"Token x":  "{\"message\":\"Token is invalid!\"}\n",
	} {
		var headers []string
		if authorization != "" {
			headers = []string{"authorization", authorization}
		}
		r := authztest.Get("/a", headers...)
		if got := engine.Decide(&r); got.Refused().Status != 403 || got.Refused().Body != want ||
			values(got.Refused().Headers)["www-authenticate"] != "" {
			t.Errorf(
				"%q: got %d %s %v",
				authorization,
				got.Refused().Status,
				got.Refused().Body,
				got.Refused().Headers,
			)
		}
	}
	w.Revocations.Fresh = revocation.Freshness{Why: revocation.WhyStale}
	r := authztest.Get("/a", "authorization", "Bearer "+zoe(w, "type", `"access"`))
	if d := engine.Decide(&r); d.Refused().Status != 503 ||
		values(d.Refused().Headers)["retry-after"] != "1" {
		t.Errorf("stale: got %d %v", d.Refused().Status, d.Refused().Headers)
	}
}

func TestTheFormOfARefusalIsNegotiated(t *testing.T) {
	_, engine := refusing(t, policy.Refusals{
		As: policy.RefuseNegotiate, LoginPage: "https://login.example.com/in?next={path}&x=y",
	})
	const login = "https://login.example.com/in?next=%2Fa%3Fb%3Dc%26d&x=y"
	for name, row := range map[string]struct {
		method, accept, kind string
		status               int
	}{
		"nothing said":        {"GET", "", "application/json", 401},
		"anything":            {"GET", "*/*", "application/json", 401},
		"JSON":                {"GET", "application/json, text/html;q=0.9", "application/json", 401},
		"a problem":           {"GET", "application/problem+json", "application/problem+json", 401},
		"a browser":           {"GET", "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", "text/html; charset=utf-8", 302},
		"a browser's form":    {"POST", "text/html,application/xhtml+xml", "text/html; charset=utf-8", 401},
		"no pages":            {"GET", "text/html;q=0, application/json;q=0.1", "application/json", 401},
		"problems rather":     {"GET", "text/html;q=0.5, application/problem+json;q=0.7", "application/problem+json", 401},
		"weights of nonsense": {"GET", "text/html;q=,;;q=x", "application/json", 401},
		"another case":        {"GET", "TEXT/HTML ; Q=1.0", "text/html; charset=utf-8", 302},
	} {
		r := authztest.Do(row.method, "/a?b=c&d", "accept", row.accept)
		refused := engine.Decide(&r)
		got := refused.Refused()
		headers := values(got.Headers)
		if got.Status != row.status || headers["content-type"] != row.kind ||
			(headers["location"] == login) != (row.status == 302) || got.Reason != token.ReasonNoToken ||
			headers[authz.HeaderReason] != "no_token" ||
			(headers["www-authenticate"] != "") != (row.status == 401) {
			t.Errorf("%s: got %d %v", name, got.Status, headers)
		}
	}
	r := authztest.Do("POST", "/a", "content-type", "application/grpc+proto", "accept", "text/html")
	if d := engine.Decide(&r); d.Refused().Body != "no_token: The route needs a token and the request carries none." {
		t.Errorf("gRPC: got %s", d.Refused().Body)
	}
	r = authztest.Get("/other", "accept", "text/html")
	if d := engine.Decide(&r); values(d.Refused().Headers)["content-type"] != "application/json" {
		t.Errorf("a route of another form: %v", d.Refused().Headers)
	}
}

// TestALoginPageIsSentNoToken, nor to anywhere that is no path of this host.
func TestALoginPageIsSentNoToken(t *testing.T) {
	pages := policy.Refusals{As: policy.RefuseHTML, LoginPage: "/login?to={path}"}
	w, engine := refusing(t, pages)
	other, err := policy.Compile(policy.Config{Refusals: pages, Routes: []policy.Route{
		{Match: policy.Match{Path: "/q"}, QueryToken: "named"}, {Match: policy.Match{Path: "/**"}},
	}})
	if err != nil {
		t.Fatal(err)
	}
	engine.SetPolicies(w.Policy, map[string]*policy.Policy{"other": other})
	for path, want := range map[string]string{
		"/q?t=secret":                      "/login?to=%2Fq",
		"/q?x=y&t=secret":                  "/login?to=%2Fq",
		"/a?t=secret":                      "/login?to=%2Fa",
		"/a?x=y&t=secret&z&t=secret":       "/login?to=%2Fa%3Fx%3Dy%26z",
		"/a?%74=secret&x=y":                "/login?to=%2Fa%3Fx%3Dy",
		"/a?T=secret&x=y":                  "/login?to=%2Fa%3Fx%3Dy",
		"/a?x=y;t=secret&z":                "/login?to=%2Fa%3Fz",
		"/a?named=secret&x=y":              "/login?to=%2Fa%3Fx%3Dy",
		"/a?tt=y&x=t&at=&&":                "/login?to=%2Fa%3Ftt%3Dy%26x%3Dt%26at%3D%26%26",
		"/a?x=y":                           "/login?to=%2Fa%3Fx%3Dy",
		"/a?x=\"\r\nset-cookie: a":         "/login?to=%2Fa%3Fx%3D%22%0D%0Aset-cookie%3A%20a",
		"/a?" + strings.Repeat("x", 3<<10): "/login?to=%2F",
	} {
		r := authztest.Get(path)
		if d := engine.Decide(&r); values(d.Refused().Headers)["location"] != want {
			t.Errorf("%.40s: got %v", path, d.Refused().Headers)
		}
	}
	r := authztest.Get("/a?t=secret&named=secret&x")
	r.Policy = "other"
	if d := engine.Decide(&r); values(d.Refused().Headers)["location"] != "/login?to=%2Fa%3Fx" {
		t.Errorf("a named policy: got %v", d.Refused().Headers)
	}
	for _, path := range []string{"//evil.example.com", "https://evil.example.com/", "*"} {
		r := authztest.Get(path)
		if d := engine.Decide(&r); values(d.Refused().Headers)["location"] != "" {
			t.Errorf("%s: got %v", path, d.Refused().Headers)
		}
	}
}

// TestEveryReasonCanBeToldInEveryForm: with its status or that of the form, and readable.
func TestEveryReasonCanBeToldInEveryForm(t *testing.T) {
	for form, check := range map[string]func(token.Description, *authz.Refusal) bool{
		policy.RefuseProblem: func(d token.Description, r *authz.Refusal) bool {
			var p struct {
				Title, Detail, Reason string
				Status                int
			}
			return json.Unmarshal([]byte(r.Body), &p) == nil && p.Title != "" && p.Detail == d.Meaning &&
				p.Reason == string(d.Reason) && p.Status == d.Status && r.Status == d.Status
		},
		policy.RefuseHTML: func(d token.Description, r *authz.Refusal) bool {
			return strings.Contains(r.Body, "<h1>") && !strings.Contains(r.Body, "<h1></h1>") &&
				strings.Contains(r.Body, "("+string(d.Reason)+")") && r.Status == d.Status
		},
		policy.RefuseText: func(d token.Description, r *authz.Refusal) bool {
			return r.Body == string(d.Reason)+": "+d.Meaning && r.Status == d.Status
		},
		policy.RefuseFlask: func(_ token.Description, r *authz.Refusal) bool {
			return json.Valid([]byte(r.Body)) && r.Status != 401
		},
		policy.RefuseFlaskJWT: func(_ token.Description, r *authz.Refusal) bool {
			return json.Valid([]byte(r.Body)) && r.Status >= 400
		},
	} {
		_, engine := refusing(t, policy.Refusals{As: form})
		for _, d := range token.Reasons() {
			if r := engine.Told(form, d.Reason); r == nil || !check(d, r) ||
				values(r.Headers)[authz.HeaderReason] != string(d.Reason) {
				t.Errorf("%s in %s: got %+v", d.Reason, form, r)
			}
		}
	}
}
