package authz_test

import (
	"strings"
	"testing"

	"github.com/sallyport/sallyport/authz"
	"github.com/sallyport/sallyport/authz/authztest"
	"github.com/sallyport/sallyport/internal/policy"
)

const page = "https://app.example.com"

// across is an engine whose answers a page of another origin may read, but for /closed.
func across(t testing.TB) (*authztest.World, *authz.Engine) {
	t.Helper()
	w := authztest.New()
	var err error
	w.Policy, err = policy.Compile(policy.Config{Routes: []policy.Route{
		{
			Match: policy.Match{Path: "/api/**", Methods: []string{"GET", "PUT"}},
			CORS:  policy.CORS{Origins: []string{page}, Credentials: true, Expose: []string{"etag"}},
		},
		{
			Match: policy.Match{Path: "/public"}, Allow: "public",
			CORS: policy.CORS{Origins: []string{page, "http://localhost:3000"}, Headers: []string{"x-a"}},
		},
		{Match: policy.Match{Path: "/**"}},
	}})
	if err != nil {
		t.Fatal(err)
	}
	return w, w.Engine(nil)
}

func TestAPreflightIsAnsweredForTrustedOriginsAlone(t *testing.T) {
	_, engine := across(t)
	for name, row := range map[string]struct {
		method, path string
		headers      []string
		answered     bool
	}{
		"of a trusted page":       {"OPTIONS", "/api/x", []string{"origin", page, "access-control-request-method", "PUT"}, true},
		"for headers":             {"OPTIONS", "/api/x", []string{"origin", page, "access-control-request-method", "PUT", "access-control-request-headers", "x"}, true},
		"what is public":          {"OPTIONS", "/public", []string{"origin", "http://localhost:3000", "access-control-request-method", "DELETE"}, true},
		"of another page":         {"OPTIONS", "/api/x", []string{"origin", "https://evil.example.com", "access-control-request-method", "PUT"}, false},
		"of nobody":               {"OPTIONS", "/api/x", []string{"origin", "null", "access-control-request-method", "PUT"}, false},
		"of a longer name":        {"OPTIONS", "/api/x", []string{"origin", page + ".evil.example", "access-control-request-method", "PUT"}, false},
		"in capitals":             {"OPTIONS", "/api/x", []string{"origin", strings.ToUpper(page), "access-control-request-method", "PUT"}, false},
		"of two pages":            {"OPTIONS", "/api/x", []string{"origin", page, "origin", page, "access-control-request-method", "PUT"}, false},
		"for another method":      {"OPTIONS", "/api/x", []string{"origin", page, "access-control-request-method", "DELETE"}, false},
		"for a method of none":    {"OPTIONS", "/api/x", []string{"origin", page, "access-control-request-method", "PUT\r\nx: y"}, false},
		"for no method":           {"OPTIONS", "/api/x", []string{"origin", page}, false},
		"without an origin":       {"OPTIONS", "/api/x", []string{"access-control-request-method", "PUT"}, false},
		"in small letters":        {"options", "/api/x", []string{"origin", page, "access-control-request-method", "PUT"}, false},
		"another method of HTTP":  {"GET", "/api/x", []string{"origin", page, "access-control-request-method", "PUT"}, false},
		"where no page is named":  {"OPTIONS", "/closed", []string{"origin", page, "access-control-request-method", "GET"}, false},
		"a path in another shape": {"OPTIONS", "/closed/../api/x", []string{"origin", page, "access-control-request-method", "GET"}, false},
	} {
		r := authztest.Do(row.method, row.path, row.headers...)
		d := engine.Decide(&r)
		if d.Allow || d.Preflight() != row.answered || (d.Refused().Status == 204) != row.answered {
			t.Errorf("%s: got %d %s, preflight %v", name, d.Refused().Status, d.Reason(), d.Preflight())
		}
		headers := values(d.Refused().Headers)
		if !row.answered {
			if headers["access-control-allow-methods"] != "" {
				t.Errorf("%s: got %v", name, headers)
			}
			continue
		}
		if headers["access-control-allow-origin"] != row.headers[1] || headers["vary"] != "origin" ||
			headers["access-control-allow-methods"] != row.headers[3] ||
			(headers["access-control-allow-credentials"] == "true") != (row.path == "/api/x") ||
			headers["access-control-max-age"] != "600" ||
			headers["access-control-allow-headers"] != map[string]string{"/api/x": "authorization, content-type", "/public": "x-a"}[row.path] {
			t.Errorf("%s: got %v", name, headers)
		}
	}
}

func TestAPageReadsAnswersAndRefusalsOfRoutesThatTrustIt(t *testing.T) {
	w, engine := across(t)
	token := "Bearer " + zoe(w)
	for name, row := range map[string]struct {
		path, origin, authorization string
		allow, readable             bool
	}{
		"an answer":             {"/api/x", page, token, true, true},
		"a refusal":             {"/api/x", page, "", false, true},
		"a bad token":           {"/api/x", page, "Bearer x", false, true},
		"what is public":        {"/public", page, "", true, true},
		"another page":          {"/api/x", "https://evil.example.com", token, true, false},
		"another page refused":  {"/api/x", "https://evil.example.com", "", false, false},
		"nobody's":              {"/api/x", "null", token, true, false},
		"no page":               {"/api/x", "", token, true, false},
		"where none is named":   {"/closed", page, token, true, false},
		"refused where none is": {"/closed", page, "", false, false},
	} {
		headers := []string{"origin", row.origin}
		if row.origin == "" {
			headers = nil
		}
		if row.authorization != "" {
			headers = append(headers, "authorization", row.authorization)
		}
		r := authztest.Get(row.path, headers...)
		d := engine.Decide(&r)
		got := d.Refused().Headers
		if d.Allow {
			got = nil
			if d.Changes != nil {
				got = d.Changes.Client
			}
		}
		told := values(got)
		if d.Allow != row.allow ||
			(told["access-control-allow-origin"] == row.origin && row.origin != "") != row.readable {
			t.Errorf("%s: %s, %v", name, d.Reason(), told)
		}
		if row.readable && row.path == "/api/x" &&
			told["access-control-expose-headers"] != "etag, www-authenticate, x-sallyport-reason, x-sallyport-decision" {
			t.Errorf("%s: %v", name, told)
		}
		if !row.readable &&
			told["access-control-allow-origin"]+told["access-control-allow-credentials"] != "" {
			t.Errorf("%s: %v", name, told)
		}
	}
}

// TestNoCookiesWhereTheRouteSaysNothingOfThem: the upstream's word that answers to requests with
// cookies may be read is overwritten, in an answer, a refusal and a preflight.
func TestNoCookiesWhereTheRouteSaysNothingOfThem(t *testing.T) {
	_, engine := across(t)
	const credentials = "access-control-allow-credentials"
	for path, want := range map[string]string{"/public": "false", "/api/x": "true"} {
		ask := authztest.Do("OPTIONS", path, "origin", page, "access-control-request-method", "GET")
		if d := engine.Decide(&ask); values(d.Refused().Headers)[credentials] != want {
			t.Errorf("preflight for %s: got %v", path, d.Refused().Headers)
		}
		get := authztest.Get(path, "origin", page)
		d := engine.Decide(&get)
		told := d.Refused().Headers
		if d.Allow {
			told = d.Changes.Client
		}
		if d.Allow != (path == "/public") || values(told)[credentials] != want {
			t.Errorf("%s: got %v", path, told)
		}
	}
}

// TestAPreflightIsAnsweredForAMethodAlone: what a header of the answer repeats is one method's name,
// and not the one that would stand for all.
func TestAPreflightIsAnsweredForAMethodAlone(t *testing.T) {
	_, engine := across(t) // whose /public takes all methods
	for method, answered := range map[string]bool{
		"GET": true, "PROPFIND": true, "M-SEARCH": true, "": false, "\xffGET, *": false, "GET, *": false,
		"*": false, "GET POST": false, "GET\r\nx: y": false, "GÉT": false,
	} {
		r := authztest.Do("OPTIONS", "/public", "origin", page, "access-control-request-method", method)
		d := engine.Decide(&r)
		told := method
		if d.Preflight() {
			told = values(d.Refused().Headers)["access-control-allow-methods"]
		}
		if d.Preflight() != answered || told != method {
			t.Errorf("%q: preflight %v, %q", method, d.Preflight(), told)
		}
	}
}
