package authz_test

import (
	"strconv"
	"testing"

	"github.com/sallyport/sallyport/authz"
	"github.com/sallyport/sallyport/authz/authztest"
	"github.com/sallyport/sallyport/internal/policy"
)

// byHeaders is an engine of routes that go by one header, which answer in the form that a request
// prefers.
func byHeaders(t *testing.T, routes int) *authz.Engine {
	t.Helper()
	c := policy.Config{Refusals: policy.Refusals{As: policy.RefuseNegotiate}}
	for i := range routes {
		c.Routes = append(c.Routes, policy.Route{Match: policy.Match{
			Path:    "/**",
			Headers: []policy.HeaderMatch{{Name: "x-api-version", Exact: strconv.Itoa(i)}},
		}})
	}
	engine := engineOf(authztest.New(), c)
	if engine == nil {
		t.Fatal("the policy does not load")
	}
	return engine
}

// TestLinesOfAHeaderAreGatheredOnce, however many they are, and however many routes go by them:
// each line would else cost as much as all lines before it, for each route, before any token.
func TestLinesOfAHeaderAreGatheredOnce(t *testing.T) {
	const lines = 1000
	engine := byHeaders(t, 50)
	for _, name := range []string{"x-api-version", "accept", "content-type"} {
		r := authztest.Get("/a")
		for range lines {
			r.Headers = append(r.Headers, authz.Header{Name: name, Value: "7"})
		}
		if n := testing.AllocsPerRun(3, func() {
			if d := engine.Decide(&r); d.Allow {
				t.Fatal("allowed")
			}
		}); n > lines/10 {
			t.Errorf("%d lines of %s are put together in %v pieces of memory", lines, name, n)
		}
	}
}

func TestRoutesGoByAllLinesOfAHeader(t *testing.T) {
	engine := engineOf(authztest.New(), policy.Config{Routes: []policy.Route{{
		Match: policy.Match{
			Path: "/**", Headers: []policy.HeaderMatch{{Name: "x-env", Exact: "a,,b"}},
		},
		Allow: "public",
	}}})
	for _, row := range []struct {
		headers []string
		allowed bool
	}{
		{[]string{"x-env", "a,,b"}, true},
		{[]string{"X-Env", "a", "other", "c", "x-env", "", "x-env", "b"}, true},
		{[]string{"x-env", "a", "x-env", "b"}, false},
		{[]string{"x-env", "", "x-env", "a", "x-env", "", "x-env", "b"}, false},
		{[]string{"x-env", "a,,b", "x-env", ""}, false},
		{nil, false},
	} {
		r := authztest.Get("/a", row.headers...)
		if d := engine.Decide(&r); d.Allow != row.allowed {
			t.Errorf("%q: %s", row.headers, d.Reason())
		}
	}
}
