package doors_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"path"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/sallyport/sallyport/authz"
	"github.com/sallyport/sallyport/authz/authztest"
	"github.com/sallyport/sallyport/internal/eventually"
)

// starters start each proxy with the configuration of its page, changed: to ask a gate, and in
// front of an upstream, at these addresses.
var starters = map[string]func(t *testing.T, gate, upstream string, changes ...string) string{
	"caddy": caddy, "envoy": envoy, "haproxy": haproxy, "nginx": nginx, "traefik": traefik,
}

// door is a real proxy that asks a real gate, in front of an upstream.
type door struct {
	proxy, address string
	upstream       *upstream
	overGRPC       bool // Envoy asks the mesh's gates, by the mesh's configuration
}

const trusted = "--http-check-trusted-proxies=127.0.0.1"

// open starts a door whose gate trusts this machine.
func open(t *testing.T, proxy string, changes ...string) *door {
	t.Helper()
	d := &door{proxy: proxy, upstream: newUpstream(t)}
	at := port(t)
	gate(t, proxy, at, trusted)
	d.address = starters[proxy](t, at, d.upstream.address, changes...)
	return d
}

// TestEveryDoor: what each proxy and the gate behind it promise together, as its page has it set
// up.
func TestEveryDoor(t *testing.T) {
	promises := map[string]func(*testing.T, *door){
		"TheUpstreamIsToldWhoCalls":          theUpstreamIsToldWhoCalls,
		"ARefusalIsTheGatesOwn":              aRefusalIsTheGatesOwn,
		"NoHeaderOfAClientBecomesAnIdentity": noHeaderOfAClientBecomesAnIdentity,
		"NoConnectionHeaderTakesAnIdentity":  noConnectionHeaderTakesAnIdentity,
		"WhatIsJudgedIsWhatTheUpstreamGets":  whatIsJudgedIsWhatTheUpstreamGets,
		"NoSpellingOfAPathLeadsPastItsRoute": noSpellingOfAPathLeadsPastItsRoute,
		"OneTokenFromOnePlace":               oneTokenFromOnePlace,
		"AClientCannotNameAnotherRequest":    aClientCannotNameAnotherRequest,
		"TheHostIsTheOneThatTheUpstreamGets": theHostIsTheOneThatTheUpstreamGets,
		"WhatTheUpstreamSaysComesThrough":    whatTheUpstreamSaysComesThrough,
		"ABodyGoesToTheUpstreamAlone":        aBodyGoesToTheUpstreamAlone,
		"ALogoutIsInForce":                   aLogoutIsInForce,
		"HostileRequestLinesReachNobody":     hostileRequestLinesReachNobody,
	}
	for _, proxy := range slices.Sorted(maps.Keys(starters)) {
		t.Run(proxy, func(t *testing.T) {
			t.Parallel()
			d := open(t, proxy)
			for _, name := range slices.Sorted(maps.Keys(promises)) {
				t.Run(name, func(t *testing.T) { promises[name](t, d) })
			}
		})
	}
}

func theUpstreamIsToldWhoCalls(t *testing.T, d *door) {
	a := get(t, d.address, "/protected", bearer(login(t, "alice")))
	h := a.received.Headers
	if a.status != 200 || h[authz.HeaderSubject] != "alice" || h[authz.HeaderRoles] != "admin" ||
		h[authz.HeaderIssuer] == "" || h[authz.HeaderSession] == "" || h[authz.HeaderTokenID] == "" {
		t.Errorf("got %d, the upstream got %v", a.status, h)
	}
	for _, path := range []string{"/public", "/optional"} {
		a := get(t, d.address, path)
		if a.status != 200 {
			t.Errorf("%s: got %d %s", path, a.status, a.body)
		}
		for name := range a.received.Headers {
			if strings.HasPrefix(name, authz.IdentityPrefix) ||
				strings.HasPrefix(name, "x-sallyport") {
				t.Errorf("%s: the upstream got %s", path, name)
			}
		}
	}
}

// aRefusalIsTheGatesOwn: status, reason, challenge and body are those that a client gets through
// Envoy, which asks over gRPC.
func aRefusalIsTheGatesOwn(t *testing.T, d *door) {
	bob := bearer(login(t, "bob"))
	overGRPC := strings.TrimPrefix(shared(t).Endpoints().Gateway, "http://")
	d.upstream.received()
	for name, row := range map[string]struct {
		path   string
		lines  []string
		status int
	}{
		"no token":          {"/protected", nil, 401},
		"a bad token":       {"/protected", []string{"Authorization: Bearer x.y.z"}, 401},
		"another scheme":    {"/protected", []string{"Authorization: Basic YTpi"}, 401},
		"a role is missing": {"/admin", []string{bob}, 403},
		"nobody may":        {"/closed", []string{bob}, 403},
		"no route":          {"/nowhere", []string{bob}, 403},
		"two readings":      {"/api/a;b", []string{bob}, 400},
		"a page":            {"/page", nil, 401},
		"a problem":         {"/problem", nil, 401},
		"Flask's":           {"/flask", nil, 403},
	} {
		got, want := get(
			t,
			d.address,
			row.path,
			row.lines...), get(
			t,
			overGRPC,
			row.path,
			row.lines...)
		if d.proxy == "nginx" { // which has a body in one line
			want.body = strings.ReplaceAll(strings.TrimSuffix(want.body, "\n"), "\n", " ")
		}
		if got.status != row.status || want.status != row.status || got.body != want.body {
			t.Errorf(
				"%s: got %d %s, and through Envoy %d %s",
				name,
				got.status,
				got.body,
				want.status,
				want.body,
			)
		}
		for _, header := range []string{
			"X-Sallyport-Reason", "WWW-Authenticate", "Content-Type", "Cache-Control",
		} {
			if !slices.Equal(got.header.Values(header), want.header.Values(header)) {
				t.Errorf("%s: got %s: %q, and through Envoy %q", name, header,
					got.header.Values(header), want.header.Values(header))
			}
		}
		if id := got.header.Values(authz.HeaderDecision); len(id) != 1 || len(id[0]) != 32 {
			t.Errorf("%s: the decision's ID is %q", name, id)
		}
	}
	if seen := d.upstream.received(); len(seen) > 0 {
		t.Errorf("the upstream has seen what was refused: %v", seen)
	}
}

// noHeaderOfAClientBecomesAnIdentity at an upstream that makes one name of many: for every sign
// that a name may have, on routes where the caller is known, may be known and is not. With the
// identity headers go those that ask for another method or path. Such a request is served without
// them; of names that Caddy cannot remove, it is refused.
func noHeaderOfAClientBecomesAnIdentity(t *testing.T, d *door) {
	token := bearer(login(t, "bob"))
	for _, sign := range "-" + authztest.Signs {
		lines := []string{"X-Author: kept"}
		for _, name := range slices.Concat(authz.IdentityHeaders(), authz.OverrideHeaders()) {
			name = strings.ReplaceAll(name, "-", string(sign))
			lines = append(lines, name+": mallory", strings.ToUpper(name[:1])+name[1:]+": mallory")
		}
		for path, who := range map[string][]string{
			"/public": nil, "/optional": nil, "/protected": {token},
		} {
			d.upstream.received()
			a := get(t, d.address, path, append(lines, who...)...)
			want := 200
			if d.proxy == "caddy" && !strings.ContainsRune("-_.", sign) {
				want = 400
			}
			if a.status != want {
				t.Errorf("%s with %c: got %d %s", path, sign, a.status, a.body)
			}
			for _, seen := range d.upstream.received() {
				for name, value := range seen.Headers {
					if strings.Contains(value, "mallory") {
						t.Errorf("%s with %c: the upstream got %s: %s", path, sign, name, value)
					}
				}
				if (who != nil) != (seen.Headers[authz.HeaderSubject] == "bob") {
					t.Errorf("%s with %c: the upstream got %v", path, sign, seen.Headers)
				}
				if seen.Headers["x-author"] != "kept" {
					t.Errorf("%s with %c: a header of another name is gone", path, sign)
				}
			}
		}
	}
	// Of other names that begin so, NGINX and Traefik remove none by a pattern: the gate refuses.
	want := 200
	if d.proxy == "nginx" || d.proxy == "traefik" {
		want = 400
	}
	for _, path := range []string{"/public", "/protected"} {
		d.upstream.received()
		a := get(t, d.address, path, "X-Auth-Email: mallory", token)
		if a.status != want {
			t.Errorf("%s with X-Auth-Email: got %d %s", path, a.status, a.body)
		}
		for _, seen := range d.upstream.received() {
			if value, ok := seen.Headers["x-auth-email"]; ok {
				t.Errorf("%s: the upstream got X-Auth-Email: %s", path, value)
			}
		}
	}
}

// noConnectionHeaderTakesAnIdentity: a request that has the next proxy drop a header that says who
// calls is refused, or the header stays.
func noConnectionHeaderTakesAnIdentity(t *testing.T, d *door) {
	token := bearer(login(t, "bob"))
	for _, names := range []string{
		"x-auth-subject", "X-Auth-Subject, X-Auth-Roles", "close, x-auth-roles", "x_auth_roles",
		"x-original-uri, x-original-method, x-original-host",
		"x-forwarded-uri, x-forwarded-method, x-forwarded-host", "authorization",
	} {
		d.upstream.received()
		a := raw(t, d.address, "GET /protected HTTP/1.1\r\nHost: things.example.com\r\n"+token+
			"\r\nConnection: close\r\nConnection: "+names+"\r\n\r\n")
		for _, seen := range d.upstream.received() {
			if seen.Headers[authz.HeaderSubject] != "bob" ||
				seen.Headers[authz.HeaderRoles] != "user" {
				t.Errorf("Connection: %s: %d, the upstream got %v", names, a.status, seen.Headers)
			}
		}
		if a.status != 200 && a.status != 400 && a.status != 401 {
			t.Errorf("Connection: %s: got %d", names, a.status)
		}
	}
}

// whatIsJudgedIsWhatTheUpstreamGets of methods, paths and queries that have one reading.
func whatIsJudgedIsWhatTheUpstreamGets(t *testing.T, d *door) {
	token := bearer(login(t, "alice"))
	for _, target := range []string{
		"/api/a?b=c&d=/../public", "/api/a%20b", "/api/100%25", "/api/~!$&'()*+,=:@-._?", "/api/...",
		"/api/caf%C3%A9", "/api/a?x=%2F..%2Fadmin", "/%70rotected", "/api/x?" + strings.Repeat("q", 3000),
	} {
		a := get(t, d.address, target, token)
		path, query, _ := strings.Cut(target, "?")
		gotPath, gotQuery, _ := strings.Cut(a.received.Path, "?")
		decoded, err := url.PathUnescape(path)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := url.PathUnescape(gotPath); a.status != 200 || err != nil || got != decoded ||
			gotQuery != query {
			t.Errorf("%.60s: %d, the upstream got %.60s", target, a.status, a.received.Path)
		}
	}
	for _, method := range []string{"GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "PROPFIND"} {
		a := do(t, d.address, method, "/api/x", token, "Content-Length: 0")
		if a.status != 200 || a.received.Method != method {
			t.Errorf("%s: %d, the upstream got %s", method, a.status, a.received.Method)
		}
		want := map[bool]int{true: 200, false: 401}[method == "POST"]
		if a := do(t, d.address, method, "/write", "Content-Length: 0"); a.status != want {
			t.Errorf("%s /write: got %d", method, a.status)
		}
	}
	// Who cleans a path before the gate is asked, hands on the clean one.
	cleans := d.proxy == "envoy" || d.proxy == "traefik"
	for _, target := range []string{"//public", "/files/../public", "/./public"} {
		a := get(t, d.address, target)
		if cleans && (a.status != 200 || a.received.Path != "/public") {
			t.Errorf("%s: %d, the upstream got %s", target, a.status, a.received.Path)
		}
		if !cleans && (a.status != 400 || a.reason() != "bad_path") {
			t.Errorf("%s: got %d %s", target, a.status, a.reason())
		}
	}
	d.upstream.received()
	if a := do(t, d.address, "HEAD", "/protected"); a.status != 401 {
		t.Errorf("HEAD without a token: got %d", a.status)
	}
	if seen := d.upstream.received(); len(seen) > 0 {
		t.Errorf("the upstream has seen %v", seen)
	}
}

// spellings are paths that servers read in more than one way, of which one is not public, or is the
// admins'.
var spellings = []string{
	"//protected", "///protected", "/.//protected", "/./protected", "/files/../protected",
	"/files/./../protected", "/files//../protected", "/files/../../protected", "/files/x/../../protected",
	"/files/%2e%2e/protected", "/files/%2E%2E/protected", "/files/.%2e/protected", "/files/%2e./protected",
	"/files/..%2fprotected", "/files/..%2Fprotected", "/files/%2e%2e%2fprotected", "/files%2f..%2fprotected",
	"/files/..%5cprotected", `/files/..\protected`, `/files\..\protected`, "/files/%5c..%5cprotected",
	"/files/%252e%252e/protected", "/files/..%252fprotected", "/files/%25252e%25252e/protected",
	"/files/..;/protected", "/files/..;x=1/protected", "/files;/../protected", "/files/;/../protected",
	"/files/.;/../protected", "/public;/../protected", "/public/../protected", "/public/..;/protected",
	"/public#/protected", "/files/#/../../protected", "/files/%23/../../protected", "/protected#/public",
	"/protected%23/public", "/protected%3f/public", "/public%3f/../protected", "/protected;x=/public",
	"/protected%00", "/files/%00/../../protected", "/protected%0a", "/protected%0d%0aX-A:%20b", "/protected%20",
	"/files/%c0%ae%c0%ae/protected", "/files/%u002e%u002e/protected", "/files/..%c0%afprotected",
	"/%66iles/../protected", "/files/\xe2\x80\xa5/protected", "/PROTECTED", "/Protected", "/protected/",
	"/protected/.", "/protected/..", "/api/../admin", "/api/%2e%2e/admin", "/api/..%2fadmin",
	"/api/..;/admin", "/api//../admin", "/api/x/../../admin", "/api/%252e%252e/admin", "/ADMIN", "/Admin/x",
	"/api/..%5cadmin", `/api/..\admin`, "/admin%2f..%2fapi", "/admin/../admin", "/%61dmin", "/admin%2fx",
	"/admin;x", "/admin/%2e", "http://things.example.com/protected", "http://public.example.com//admin",
	"http://things.example.com/files/../admin", "https://things.example.com/admin", "/%2561dmin",
}

// readings are those that servers may have of a path.
func readings(target string) (all []string) {
	target, _, _ = strings.Cut(target, "?")
	if i := strings.Index(target, "://"); i >= 0 {
		_, rest, _ := strings.Cut(target[i+3:], "/")
		target = "/" + rest
	}
	target, _, _ = strings.Cut(target, "#")
	forms := []string{target}
	for range 3 { // decoded up to three times
		last := forms[len(forms)-1]
		if next, err := url.PathUnescape(last); err == nil && next != last {
			forms = append(forms, next)
		}
	}
	for _, f := range forms {
		backslashes := strings.ReplaceAll(f, `\`, "/")
		for _, g := range []string{f, backslashes, parameterless(f), parameterless(backslashes)} {
			g, _, _ = strings.Cut(g, "\x00")
			all = append(all, strings.ToLower(path.Clean("/"+g)))
		}
	}
	return all
}

// parameterless is a path without what stands behind a ; in each segment.
func parameterless(p string) string {
	segments := strings.Split(p, "/")
	for i, s := range segments {
		segments[i], _, _ = strings.Cut(s, ";")
	}
	return strings.Join(segments, "/")
}

func below(p, root string) bool { return p == root || strings.HasPrefix(p, root+"/") }

// noSpellingOfAPathLeadsPastItsRoute (attacks 70 to 77): whatever a client without a token writes,
// the upstream gets nothing that it could read as a path which takes one; and of somebody who is no
// admin nothing that it could read as the admins'.
func noSpellingOfAPathLeadsPastItsRoute(t *testing.T, d *door) {
	token := bearer(login(t, "bob"))
	passed := 0
	for _, target := range spellings {
		d.upstream.received()
		anybody := get(t, d.address, target)
		for _, seen := range d.upstream.received() {
			for _, p := range readings(seen.Path) {
				if below(p, "/protected") || below(p, "/api") || below(p, "/admin") {
					t.Errorf(
						"without a token, %q: %d, the upstream got %q",
						target,
						anybody.status,
						seen.Path,
					)
				}
			}
		}
		known := get(t, d.address, target, token)
		for _, seen := range d.upstream.received() {
			passed++
			for _, p := range readings(seen.Path) {
				if below(p, "/admin") {
					t.Errorf(
						"no admin, %q: %d, the upstream got %q",
						target,
						known.status,
						seen.Path,
					)
				}
			}
		}
		for who, a := range map[string]answer{"anybody": anybody, "bob": known} {
			if a.status >= 500 {
				t.Errorf("%s, %q: got %d", who, target, a.status)
			}
		}
	}
	if passed == 0 {
		t.Error("not one spelling has come through: the test does not see what it should")
	}
}

// oneTokenFromOnePlace (attacks 62 to 65).
func oneTokenFromOnePlace(t *testing.T, d *door) {
	bob, alice := login(t, "bob"), login(t, "alice")
	for name, row := range map[string]struct {
		lines  []string
		status int
		reason string
	}{
		"two headers":                 {[]string{bearer(bob), bearer(alice)}, 401, "many_tokens"},
		"one header twice":            {[]string{bearer(bob), bearer(bob)}, 401, "many_tokens"},
		"a bad one first":             {[]string{"Authorization: Bearer x", bearer(bob)}, 401, "many_tokens"},
		"joined":                      {[]string{bearer(bob) + ", Bearer " + alice}, 401, "many_tokens"},
		"in two places":               {[]string{bearer(bob), "X-Access-Token: " + alice}, 401, "many_tokens"},
		"in small letters":            {[]string{"authorization: bearer " + bob}, 200, ""},
		"in capitals":                 {[]string{"AUTHORIZATION: BEARER " + bob}, 200, ""},
		"a tab":                       {[]string{"Authorization: Bearer\t" + bob}, 401, "scheme"},
		"no scheme":                   {[]string{"Authorization: " + bob}, 401, "scheme"},
		"a cookie that disagrees":     {[]string{bearer(bob), "Cookie: access_token=" + alice}, 200, ""},
		"a cookie alone":              {[]string{"Cookie: access_token=" + alice}, 401, "no_token"},
		"in a header of another name": {[]string{"X_Access_Token: " + alice}, 401, "no_token"},
		"for another proxy":           {[]string{"Proxy-Authorization: Bearer " + alice}, 401, "no_token"},
	} {
		d.upstream.received()
		a := get(t, d.address, "/protected", row.lines...)
		// NGINX takes no second Authorization header itself.
		byNGINX := d.proxy == "nginx" && a.status == 400 && row.reason == "many_tokens" &&
			a.reason() == ""
		if (a.status != row.status || a.reason() != row.reason) && !byNGINX {
			t.Errorf("%s: got %d %s %s", name, a.status, a.reason(), a.body)
		}
		for _, seen := range d.upstream.received() {
			if row.status != 200 || seen.Headers[authz.HeaderSubject] != "bob" {
				t.Errorf("%s: the upstream got %v", name, seen.Headers)
			}
		}
	}
	if a := get(t, d.address, "/protected?access_token="+alice); a.reason() != "no_token" {
		t.Errorf("in the query: got %d %s", a.status, a.reason())
	}
}

// sources are all headers by which any proxy tells a gate what it asks about.
var sources = []string{
	"X-Forwarded-Method: GET", "X-Forwarded-Uri: /public", "X-Forwarded-Host: inner.example.com",
	"X-Original-Method: GET", "X-Original-URI: /public", "X-Original-Host: inner.example.com",
	"x-envoy-original-path: /public", "X-Forwarded-Prefix: /files", "Forwarded: host=inner.example.com",
	"X-Real-Ip: 127.0.0.1", "X-Sallyport-Stripped: 1", "X-Envoy-Auth-Partial-Body: false",
}

// aClientCannotNameAnotherRequest (attacks 69 to 71), be it a probe.
func aClientCannotNameAnotherRequest(t *testing.T, d *door) {
	d.upstream.received()
	for _, lines := range [][]string{
		sources, slices.Concat(sources, sources), {"User-Agent: kube-probe/1.30"},
	} {
		if a := get(t, d.address, "/protected", lines...); a.status != 401 {
			t.Errorf("%v: got %d %s", lines, a.status, a.body)
		}
		if a := do(t, d.address, "PUT", "/write", append(lines, "Content-Length: 0")...); a.status != 401 {
			t.Errorf("%v: PUT: got %d %s", lines, a.status, a.body)
		}
		if a := get(t, d.address, "/inner/x", lines...); a.status != 401 {
			t.Errorf("%v: a host: got %d %s", lines, a.status, a.body)
		}
	}
	if seen := d.upstream.received(); len(seen) > 0 {
		t.Errorf("the upstream has seen %v", seen)
	}
	if a := get(t, d.address, "/protected",
		append(sources, bearer(login(t, "bob")))...); a.status != 200 {
		t.Errorf("with a token: got %d %s", a.status, a.body)
	}
}

// theHostIsTheOneThatTheUpstreamGets (attack 78).
func theHostIsTheOneThatTheUpstreamGets(t *testing.T, d *door) {
	for line, inner := range map[string]bool{
		"Host: inner.example.com": true, "Host: INNER.example.com": true,
		"Host: inner.example.com:8000": true, "Host: inner.example.com.": true,
		"Host: outer.example.com": false, "Host: inner.example.com.evil.example": false,
		"Host: xinner.example.com": false, "Host: inner.example.com@evil.example": false,
		"Host: inner.example.com/../x": false, "Host: ": false,
		"Host: outer.example.com\r\nHost: inner.example.com": false,
		"Host: inner.example.com, outer.example.com":         false,
	} {
		d.upstream.received()
		a := raw(t, d.address, "GET /inner/x HTTP/1.1\r\nConnection: close\r\n"+line+"\r\n\r\n")
		if (a.status == 200) != inner || a.status >= 500 {
			t.Errorf("%q: got %d %s", line, a.status, a.body)
		}
		for _, seen := range d.upstream.received() {
			host, _, _ := strings.Cut(strings.ToLower(seen.Headers["host"]), ":")
			if strings.TrimSuffix(host, ".") != "inner.example.com" {
				t.Errorf("%q: the upstream got %q", line, seen.Headers["host"])
			}
		}
	}
}

// whatTheUpstreamSaysComesThrough, be it a status that a gate has too.
func whatTheUpstreamSaysComesThrough(t *testing.T, d *door) {
	for _, status := range []int{400, 401, 403, 404, 500, 503} {
		a := get(t, d.address, fmt.Sprintf("/files/own/%d", status))
		if a.status != status || a.body != "the upstream's own" ||
			a.header.Get("WWW-Authenticate") != "Upstream" || a.reason() != "" {
			t.Errorf("%d: got %d %v %s", status, a.status, a.header, a.body)
		}
	}
}

// aBodyGoesToTheUpstreamAlone: no gate is sent it, and all of it arrives.
func aBodyGoesToTheUpstreamAlone(t *testing.T, d *door) {
	body := strings.Repeat("b", 200<<10)
	head := "POST /write HTTP/1.1\r\nHost: things.example.com\r\nConnection: close\r\n"
	for name, request := range map[string]string{
		"of a length": head + fmt.Sprintf("Content-Length: %d\r\n\r\n", len(body)) + body,
		"in chunks": head + "Transfer-Encoding: chunked\r\n\r\n" +
			fmt.Sprintf("%x\r\n%s\r\n0\r\n\r\n", len(body), body),
	} {
		a := raw(t, d.address, request)
		if a.status != 200 || a.header.Get("X-Body-Length") != fmt.Sprint(len(body)) {
			t.Errorf(
				"%s: got %d, the upstream got %s bytes",
				name,
				a.status,
				a.header.Get("X-Body-Length"),
			)
		}
	}
}

func aLogoutIsInForce(t *testing.T, d *door) {
	token := bearer(loginAnew(t, "bob"))
	if a := get(t, d.address, "/protected", token); a.status != 200 {
		t.Fatalf("got %d %s", a.status, a.body)
	}
	r, err := http.NewRequestWithContext(
		t.Context(),
		"POST",
		shared(t).Endpoints().Issuer+"/logout",
		nil,
	)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Authorization", strings.TrimPrefix(token, "Authorization: "))
	response, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	var said struct{ Revoked bool }
	if err := json.NewDecoder(response.Body).Decode(&said); err != nil || !said.Revoked {
		t.Fatalf("logout: %d %v", response.StatusCode, err)
	}
	eventually.True(t, "the token is refused", func() bool {
		a := get(t, d.address, "/protected", token)
		return a.status == 401 && a.reason() == "revoked"
	})
}

// hostileRequestLinesReachNobody (attacks 79 to 81, and what a proxy could read as two requests).
func hostileRequestLinesReachNobody(t *testing.T, d *door) {
	d.upstream.received()
	const host = "\r\nHost: things.example.com\r\nConnection: close\r\n"
	for name, request := range map[string]string{
		"CONNECT":             "CONNECT things.example.com:443 HTTP/1.1" + host + "\r\n",
		"CONNECT of a path":   "CONNECT /protected HTTP/1.1" + host + "\r\n",
		"an asterisk":         "OPTIONS * HTTP/1.1" + host + "\r\n",
		"no slash":            "GET protected HTTP/1.1" + host + "\r\n",
		"a preflight":         "OPTIONS /protected HTTP/1.1" + host + "Origin: https://a.example\r\nAccess-Control-Request-Method: GET\r\n\r\n",
		"a websocket":         "GET /protected HTTP/1.1\r\nHost: things.example.com\r\nConnection: upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n",
		"h2c":                 "GET /protected HTTP/1.1\r\nHost: things.example.com\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n\r\n",
		"two lengths":         "POST /public HTTP/1.1" + host + "Content-Length: 0\r\nContent-Length: 34\r\n\r\nGET /protected HTTP/1.1\r\nHost: a\r\n\r\n",
		"a length and chunks": "POST /public HTTP/1.1" + host + "Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET /protected HTTP/1.1\r\nHost: a\r\n\r\n",
		"not UTF-8":           "GET /protected HTTP/1.1" + host + "Authorization: Bearer \xff\xfe\r\n\r\n",
	} {
		// Of what has no route, a CONNECT has none, Envoy asks no gate; it waits for the end of the body,
		// which a CONNECT never has, before it says so.
		if d.overGRPC && strings.HasPrefix(request, "CONNECT ") {
			held(t, d.address, request)
			continue
		}
		a := raw(t, d.address, request)
		for _, seen := range d.upstream.received() {
			if !below(path.Clean(seen.Path), "/public") {
				t.Errorf(
					"%s: got %d, the upstream got %s %s",
					name,
					a.status,
					seen.Method,
					seen.Path,
				)
			}
		}
	}
}

// TestAGateThatCannotKnowRefuses, in its own words through every proxy: it has no copy of the log.
func TestAGateThatCannotKnowRefuses(t *testing.T) {
	token := bearer(login(t, "bob"))
	for _, proxy := range slices.Sorted(maps.Keys(starters)) {
		t.Run(proxy, func(t *testing.T) {
			t.Parallel()
			at, u := port(t), newUpstream(t)
			unready(t, proxy, at, trusted, "--redis-address", port(t))
			address := starters[proxy](t, at, u.address)
			u.received()
			eventually.True(t, "the gate has its keys", func() bool {
				a := get(t, address, "/protected", token)
				// Of a 5xx, Envoy's HTTP service hands on nothing: the reason is not told.
				return a.status == 503 && (a.reason() == "no_copy" || proxy == "envoy") &&
					a.header.Get("Retry-After") == "1" &&
					strings.Contains(a.body, `"temporarily_unavailable"`)
			})
			if a := get(t, address, "/protected"); a.status != 401 {
				t.Errorf("without a token: got %d", a.status)
			}
			if seen := u.received(); len(seen) > 0 {
				t.Errorf("the upstream has seen %v", seen)
			}
		})
	}
}

// TestWithoutAGateNothingPasses, not even on public routes, and everything does again once it is
// back.
func TestWithoutAGateNothingPasses(t *testing.T) {
	for _, proxy := range slices.Sorted(maps.Keys(starters)) {
		t.Run(proxy, func(t *testing.T) {
			t.Parallel()
			at, u := port(t), newUpstream(t)
			first := gate(t, proxy, at, trusted)
			address := starters[proxy](t, at, u.address)
			if a := get(t, address, "/public"); a.status != 200 {
				t.Fatalf("got %d %s", a.status, a.body)
			}
			u.received()
			if err := first.Process.Signal(syscall.SIGKILL); err != nil {
				t.Fatal(err)
			}
			// As docs/doors/README.md has them.
			want := map[string]int{
				"caddy": 502, "envoy": 503, "haproxy": 503, "nginx": 503, "traefik": 500,
			}[proxy]
			eventually.True(t, "the gate is gone", func() bool {
				return get(t, address, "/public").status == want
			})
			u.received()
			for range 2 {
				if a := get(t, address, "/public"); a.status != want {
					t.Errorf("got %d %s", a.status, a.body)
				}
			}
			if seen := u.received(); len(seen) > 0 {
				t.Errorf("the upstream has seen %v", seen)
			}
			gate(t, proxy, at, trusted)
			eventually.True(t, "it passes again", func() bool {
				return get(t, address, "/public").status == 200
			})
		})
	}
}

// TestAProxyThatIsNotTrustedIsRefused, whoever its client is.
func TestAProxyThatIsNotTrustedIsRefused(t *testing.T) {
	at, u := port(t), newUpstream(t)
	gate(t, "nginx", at, "--http-check-trusted-proxies", "192.0.2.0/24")
	address := nginx(t, at, u.address)
	for _, path := range []string{"/public", "/protected"} {
		if a := get(t, address, path, bearer(login(t, "alice")),
			"X-Forwarded-For: 192.0.2.1"); a.status != 400 {
			t.Errorf("%s: got %d %s", path, a.status, a.body)
		}
	}
	if seen := u.received(); len(seen) > 0 {
		t.Errorf("the upstream has seen %v", seen)
	}
}
