package authz_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/sallyport/sallyport/authz"
	"github.com/sallyport/sallyport/authz/authztest"
	"github.com/sallyport/sallyport/internal/policy"
)

// sourced is an engine whose tokens stand where sources say; /q takes them from the query, too.
func sourced(t testing.TB, sources ...policy.TokenSource) (*authztest.World, *authz.Engine) {
	t.Helper()
	w := authztest.New()
	var err error
	w.Policy, err = policy.Compile(policy.Config{
		Tokens: sources,
		Routes: []policy.Route{
			{Match: policy.Match{Path: "/q"}, QueryToken: "access_token"},
			{Match: policy.Match{Path: "/p"}, Allow: "public"},
			{Match: policy.Match{Path: "/o"}, Allow: "optional"},
			{Match: policy.Match{Path: "/when"}, Require: policy.Require{
				When: `"cookie" in request.headers || "x-token" in request.headers`,
			}},
			{Match: policy.Match{Path: "/a"}},
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	return w, w.Engine(nil)
}

// said is a decision in words: the reason, and what the request loses, with the token as TOKEN.
func said(d authz.Decision, secret string) string {
	words := []string{d.Reason()}
	if c := d.Changes; c != nil && d.Allow {
		for _, h := range c.Set {
			words = append(words, h.Name+"="+h.Value)
		}
		for _, name := range c.Remove {
			words = append(words, "-"+name)
		}
		if c.Parameter != "" {
			words = append(words, "?"+c.Parameter, c.Path)
		}
	}
	return strings.ReplaceAll(strings.Join(words, " "), secret, "TOKEN")
}

func TestATokenStandsWhereThePolicySays(t *testing.T) {
	everywhere := []policy.TokenSource{
		{Authorization: "Token", Remove: true}, {Header: "x-token"},
		{Cookie: "session", Remove: true}, {WebSocket: "bearer."},
	}
	for name, row := range map[string]struct {
		sources []policy.TokenSource
		path    string
		headers []string // with TOKEN for the token
		want    string
	}{
		"a scheme":                     {everywhere, "/a", []string{"authorization", "Token TOKEN"}, "allowed -authorization"},
		"a scheme in another case":     {everywhere, "/a", []string{"authorization", "tOKEN TOKEN"}, "allowed -authorization"},
		"another scheme":               {everywhere, "/a", []string{"authorization", "Bearer TOKEN"}, "scheme"},
		"a scheme and nothing":         {everywhere, "/a", []string{"authorization", "Token "}, "scheme"},
		"a scheme twice":               {everywhere, "/a", []string{"authorization", "Token TOKEN", "authorization", "Token TOKEN"}, "many_tokens"},
		"a scheme twice in a line":     {everywhere, "/a", []string{"authorization", "Token TOKEN, Token TOKEN"}, "many_tokens"},
		"another scheme before":        {everywhere, "/a", []string{"authorization", "Basic eA==", "authorization", "Token TOKEN"}, "many_tokens"},
		"another scheme behind":        {everywhere, "/a", []string{"authorization", "Token TOKEN", "authorization", "Basic eA=="}, "many_tokens"},
		"another scheme joined":        {everywhere, "/a", []string{"authorization", "Basic eA==,Token TOKEN"}, "many_tokens"},
		"an empty line beside a token": {everywhere, "/a", []string{"authorization", "", "authorization", "Token TOKEN"}, "many_tokens"},
		"two other schemes":            {everywhere, "/a", []string{"authorization", "Basic eA==", "authorization", "Basic eA=="}, "scheme"},
		"another beside the query's":   {nil, "/q", []string{"authorization", "Basic eA==", "authorization", "Bearer TOKEN"}, "many_tokens"},
		"both usual places, one other": {nil, "/q", []string{"authorization", "Basic eA==", "x-access-token", "TOKEN"}, "many_tokens"},
		"a header":                     {everywhere, "/a", []string{"X-Token", "TOKEN"}, "allowed"},
		"a header twice":               {everywhere, "/a", []string{"x-token", "TOKEN", "x-token", "TOKEN"}, "many_tokens"},
		"a header joined":              {everywhere, "/a", []string{"x-token", "TOKEN,TOKEN"}, "many_tokens"},
		"no source of the policy":      {everywhere, "/a", []string{"x-access-token", "TOKEN"}, "no_token"},
		"a cookie":                     {everywhere, "/a", []string{"cookie", "session=TOKEN"}, "allowed -cookie"},
		"a cookie among others":        {everywhere, "/a", []string{"Cookie", "a=b; session=TOKEN; c=d=e"}, "allowed cookie=a=b; c=d=e"},
		"a cookie in lines":            {everywhere, "/a", []string{"cookie", "a=b", "cookie", "session=TOKEN", "cookie", "c=d"}, "allowed cookie=a=b; c=d"},
		"a cookie twice":               {everywhere, "/a", []string{"cookie", "session=TOKEN; session=TOKEN"}, "many_tokens"},
		"cookies in joined lines":      {everywhere, "/a", []string{"cookie", "a=b,session=TOKEN"}, "many_tokens"},
		"one more in joined lines":     {everywhere, "/a", []string{"cookie", "session=TOKEN; a=b, c=d, session=TOKEN"}, "many_tokens"},
		"a comma in a cookie":          {everywhere, "/a", []string{"cookie", "a=b,c=session=; session=TOKEN"}, "allowed cookie=a=b,c=session="},
		"a cookie in another case":     {everywhere, "/a", []string{"cookie", "Session=TOKEN"}, "no_token"},
		"a cookie whose end is a name": {everywhere, "/a", []string{"cookie", "xsession=TOKEN; my session=TOKEN"}, "no_token"},
		"an empty cookie":              {everywhere, "/a", []string{"cookie", "session="}, "segments"},
		"a subprotocol":                {everywhere, "/a", []string{"sec-websocket-protocol", "chat, bearer.TOKEN,chat2"}, "allowed sec-websocket-protocol=chat, chat2"},
		"a subprotocol alone":          {everywhere, "/a", []string{"sec-websocket-protocol", "bearer.TOKEN"}, "allowed -sec-websocket-protocol"},
		"subprotocols without one":     {everywhere, "/a", []string{"sec-websocket-protocol", "chat, chat2"}, "no_token"},
		"two subprotocols":             {everywhere, "/a", []string{"sec-websocket-protocol", "bearer.TOKEN, bearer.TOKEN"}, "many_tokens"},
		"a cookie and a header":        {everywhere, "/a", []string{"cookie", "session=TOKEN", "x-token", "TOKEN"}, "many_tokens"},
		"a cookie and a broken scheme": {everywhere, "/a", []string{"cookie", "session=TOKEN", "authorization", "Token"}, "allowed -cookie"},
		"a cookie and a bad scheme":    {everywhere, "/a", []string{"cookie", "session=TOKEN", "authorization", "Token a b"}, "many_tokens"},
		"a cookie and another scheme":  {everywhere, "/a", []string{"cookie", "session=TOKEN", "authorization", "Basic eDp5"}, "allowed -cookie"},
		"the query":                    {nil, "/q?a=b&access_token=TOKEN&c", nil, "allowed ?access_token /q?a=b&c"},
		"the query alone":              {nil, "/q?access_token=TOKEN", nil, "allowed ?access_token /q"},
		"the query twice":              {nil, "/q?access_token=TOKEN&access_token=TOKEN", nil, "many_tokens"},
		"the query and a header":       {nil, "/q?access_token=TOKEN", []string{"authorization", "Bearer TOKEN"}, "many_tokens"},
		"the query by an escape":       {nil, "/q?access%5Ftoken=TOKEN", nil, "many_tokens"},
		"the query where no route":     {nil, "/a?access_token=TOKEN", nil, "no_token"},
		"the query in another case":    {nil, "/q?Access_token=TOKEN", nil, "no_token"},
		"as ever beside the query":     {nil, "/q?a", []string{"authorization", "Bearer TOKEN"}, "allowed"},
		"x-access-token beside it":     {nil, "/q", []string{"x-access-token", "TOKEN"}, "allowed"},
		"what is public":               {everywhere, "/p", []string{"cookie", "session=x; a=b", "authorization", "Token x"}, "allowed cookie=a=b -authorization"},
		"optional, without":            {everywhere, "/o", []string{"cookie", "a=b"}, "allowed"},
		"optional, a bad one":          {everywhere, "/o", []string{"cookie", "session=x"}, "segments"},
		"a condition sees no token":    {everywhere, "/when", []string{"cookie", "session=TOKEN"}, "condition"},
		"nor in a header":              {everywhere, "/when", []string{"X-Token", "TOKEN"}, "condition"},
		"cookies that are no text":     {everywhere, "/a", []string{"cookie", "a=\xff; session=TOKEN"}, "bad_request"},
		"two cookies of two sources": {
			[]policy.TokenSource{{Cookie: "a", Remove: true}, {Cookie: "b", Remove: true}}, "/p",
			[]string{"cookie", "a=1; c=2", "cookie", "b=3; d=4"}, "allowed cookie=c=2; d=4",
		},
		"all cookies of two sources": {
			[]policy.TokenSource{{Cookie: "a", Remove: true}, {Cookie: "b", Remove: true}}, "/p",
			[]string{"cookie", "a=1", "cookie", "b=3"}, "allowed -cookie",
		},
	} {
		t.Run(name, func(t *testing.T) {
			w, engine := sourced(t, row.sources...)
			secret := zoe(w)
			var headers []string
			for _, h := range row.headers {
				headers = append(headers, strings.ReplaceAll(h, "TOKEN", secret))
			}
			r := authztest.Get(strings.ReplaceAll(row.path, "TOKEN", secret), headers...)
			for range 2 {
				if d := engine.Decide(&r); said(d, secret) != row.want {
					t.Errorf("got %s (%s), want %s", said(d, secret), d.Detail(), row.want)
				}
			}
		})
	}
}

// TestAChallengeNamesTheSchemesThatThePolicyAsksFor, with what is wrong behind each.
func TestAChallengeNamesTheSchemesThatThePolicyAsksFor(t *testing.T) {
	for want, sources := range map[string][]policy.TokenSource{
		`Bearer realm="sallyport"%s`: nil,
		`Token realm="sallyport"%s`:  {{Authorization: "Token"}, {Cookie: "session"}},
		`Token realm="sallyport"%[1]s, JWT realm="sallyport"%[1]s`: {
			{Authorization: "Token"}, {Authorization: "JWT"},
		},
		`Bearer realm="sallyport"%[1]s`: {{Header: "x-token"}}, // some challenge there has to be
	} {
		_, engine := sourced(t, sources...)
		challenge := func(path string, headers ...string) string {
			r := authztest.Get(path, headers...)
			d := engine.Decide(&r)
			return values(d.Refused().Headers)["www-authenticate"]
		}
		presented := []string{"x-token", "a.b.c"}
		if len(sources) != 1 {
			scheme := "Bearer"
			if sources != nil {
				scheme = sources[0].Authorization
			}
			presented = []string{"authorization", scheme + " a.b.c"}
		}
		for parameters, got := range map[string]string{
			"":                        challenge("/a"),
			`, error="invalid_token"`: challenge("/a", presented...),
		} {
			if want := fmt.Sprintf(want, parameters); got != want {
				t.Errorf("got %s, want %s", got, want)
			}
		}
	}
	// Where a route asks for more, too; and Flask-JWT-Extended knows the scheme by JWT_HEADER_TYPE.
	p, err := policy.Compile(policy.Config{
		Tokens: []policy.TokenSource{{Authorization: "JWT"}},
		Routes: []policy.Route{
			{Match: policy.Match{Path: "/f"}, Refusals: policy.Refusals{As: policy.RefuseFlaskJWT}},
			{Match: policy.Match{Path: "/s"}, Require: policy.Require{Scopes: []string{"a"}}},
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	w, engine := sourced(t)
	engine.SetPolicy(p)
	r := authztest.Get("/s", "authorization", "JWT "+w.Token())
	d := engine.Decide(&r)
	if got := values(d.Refused().Headers)["www-authenticate"]; got !=
		`JWT realm="sallyport", error="insufficient_scope", scope="a"` {
		t.Errorf("got %s", got)
	}
	for authorization, want := range map[string]string{
		"Bearer x": "Missing 'JWT' type in 'Authorization' header. Expected 'Authorization: JWT <JWT>'",
		"JWT":      "Bad Authorization header. Expected 'Authorization: JWT <JWT>'",
	} {
		r := authztest.Get("/f", "authorization", authorization)
		d := engine.Decide(&r)
		if got := d.Refused().Body; got != `{"msg":"`+want+"\"}\n" {
			t.Errorf("%s: got %s", authorization, got)
		}
	}
}

// TestWhoNamesTheUsualPlacesOfTokensChangesNothing, nor does a route that has one more.
func TestWhoNamesTheUsualPlacesOfTokensChangesNothing(t *testing.T) {
	w := authztest.DrawWorld()
	rapid.Check(t, func(t *rapid.T) {
		c := authztest.DrawPolicy(t)
		c.Tokens = nil
		for i := range c.Routes {
			c.Routes[i].QueryToken = ""
		}
		named, query := c, c
		named.Tokens = policy.DefaultTokens()
		query.Routes = slices.Clone(c.Routes)
		for i, route := range c.Routes {
			if route.Allow == "" || route.Allow == "optional" {
				query.Routes[i].QueryToken = "unheard-of"
			}
		}
		r := authztest.DrawRequest(t, w)
		want := engineOf(w, c).Decide(&r)
		for name, other := range map[string]policy.Config{"tokens": named, "query_token": query} {
			got := engineOf(w, other).Decide(&r)
			if got.Reason() != want.Reason() || got.Detail() != want.Detail() {
				t.Fatalf("with %s %s (%s), without %s (%s)", name, got.Reason(), got.Detail(),
					want.Reason(), want.Detail())
			}
		}
	})
}

// TestLinesOfAuthorizationAndWhatAProxyJoinsOfThemHaveOneAnswer.
func TestLinesOfAuthorizationAndWhatAProxyJoinsOfThemHaveOneAnswer(t *testing.T) {
	w := authztest.DrawWorld()
	rapid.Check(t, func(t *rapid.T) {
		engine := engineOf(w, authztest.DrawPolicy(t))
		r := authztest.DrawRequest(t, w)
		joined, lines := r, []string(nil)
		joined.Headers = slices.DeleteFunc(slices.Clone(r.Headers), func(h authz.Header) bool {
			if h.Name == "authorization" {
				lines = append(lines, h.Value)
			}
			return h.Name == "authorization"
		})
		if len(lines) < 2 {
			t.Skip("nothing to join")
		}
		joined.Headers = append(joined.Headers,
			authz.Header{Name: "authorization", Value: strings.Join(lines, ",")})
		got, want := engine.Decide(&joined), engine.Decide(&r)
		if got.Reason() != want.Reason() || got.Detail() != want.Detail() {
			t.Fatalf("%q: joined %s (%s), in lines %s (%s)", lines, got.Reason(), got.Detail(),
				want.Reason(), want.Detail())
		}
	})
}

// FuzzSources: whatever stands in a request, what it keeps holds no token, and nothing passes
// without one.
func FuzzSources(f *testing.F) {
	w, engine := sourced(f, policy.TokenSource{Authorization: "Bearer", Remove: true},
		policy.TokenSource{Cookie: "session", Remove: true}, policy.TokenSource{WebSocket: "bearer."})
	secret := zoe(w)
	f.Add("/q?access_token=TOKEN", "Bearer TOKEN", "session=TOKEN", "bearer.TOKEN")
	f.Add(
		"/q?a&&access_token=&%61=b",
		"bearer\tTOKEN",
		" session = TOKEN ;; session",
		", bearer. ,,bearer.TOKEN",
	)
	f.Fuzz(func(t *testing.T, path, authorization, cookie, protocol string) {
		put := func(s string) string { return strings.ReplaceAll(s, "TOKEN", secret) }
		r := authztest.Get(put(path), "authorization", put(authorization), "cookie", put(cookie),
			"sec-websocket-protocol", put(protocol))
		d := engine.Decide(&r)
		if d.Reason() == "internal" {
			t.Fatal("our own failure")
		}
		if !d.Allow || d.Identity.Claims == nil {
			return
		}
		all := fmt.Sprint(path, authorization, cookie, protocol)
		if strings.Count(all, "TOKEN") == 0 {
			t.Fatalf("%q passes without a token", all)
		}
		for _, h := range d.Changes.Set {
			if h.Name == "cookie" &&
				strings.Contains(";"+strings.ReplaceAll(h.Value, " ", ""), ";session=") {
				t.Fatalf("%q keeps %s: %s", all, h.Name, h.Value)
			}
		}
	})
}

// TestAHeaderThatTokensStandInIsNoAttemptAtAnIdentity, though it begins as the identity headers do;
// all others that do are removed.
func TestAHeaderThatTokensStandInIsNoAttemptAtAnIdentity(t *testing.T) {
	w, e := sourced(t, policy.TokenSource{Header: "x-auth-token"})
	r := authztest.Get("/a", "x-auth-token", w.Token(), "x-auth-email", "mallory")
	d := e.Decide(&r)
	if !d.Allow || len(d.Strip) != 1 || d.Strip[0] != "x-auth-email" {
		t.Errorf("got %q, and %q removed", d.Reason(), d.Strip)
	}
}
