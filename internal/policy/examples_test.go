package policy_test

import (
	"os"
	"testing"

	"github.com/sallyport/sallyport/internal/policy"
)

// example reads one of the policies that are shipped to start from.
func example(t *testing.T, name string) *policy.Policy {
	t.Helper()
	text, err := os.ReadFile("../../examples/policies/" + name)
	if err != nil {
		t.Fatal(err)
	}
	c, err := load(t, string(text))
	if err != nil {
		t.Fatal(err)
	}
	p, err := policy.Compile(c)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// TestAnotherCaseIsNoWayAroundAnExamplesRule asks for protected paths as an upstream that ignores
// case would take them.
func TestAnotherCaseIsNoWayAroundAnExamplesRule(t *testing.T) {
	for _, row := range []struct{ file, method, host, path string }{
		{"site.yaml", "GET", "www.example.com", "/Account/settings"},
		{"site.yaml", "HEAD", "www.example.com", "/ACCOUNT"},
		{"site.yaml", "GET", "www.example.com", "/%41ccount/settings"},
		{"site.yaml", "GET", "www.example.com", "/aCCount/x?y=/public"},
		{"api.yaml", "POST", "h", "/api/orders/1/Refund"},
		{"api.yaml", "POST", "h", "/api/Orders/1/refund"},
		{"api.yaml", "post", "h", "/api/orders/1/refund"},
		{"api.yaml", "GET", "h", "/api/V1/users"},
		{"api.yaml", "GET", "h", "/api/Reports/q3"},
	} {
		f := example(t, row.file).Find(row.method, row.host, row.path)
		if f.Rule.Access != policy.Nobody || f.Reason != "path_case" {
			t.Errorf("%s: %s %s: falls under routes[%d] (%v), reason %q", row.file, row.method,
				row.path, f.Rule.Index, f.Rule.Access, f.Reason)
		}
	}
}

func TestPathsAsTheExamplesWriteThemPass(t *testing.T) {
	for _, row := range []struct {
		file, method, host, path string
		want                     int
	}{
		{"site.yaml", "GET", "www.example.com", "/account/Settings", 0},
		{"site.yaml", "GET", "www.example.com", "/About/Us", 1},
		{"site.yaml", "GET", "staff.example.com", "/Account", 2},
		{"api.yaml", "POST", "h", "/api/orders/A-17/refund", 4},
		{"api.yaml", "GET", "h", "/api/orders/1/Refund", 6}, // only POST refunds
		{"api.yaml", "GET", "h", "/api/Catalogue/x", 6},     // the stricter of the two
		{"api.yaml", "GET", "h", "/api/Users/Me", 6},
	} {
		if f := example(t, row.file).Find(row.method, row.host, row.path); f.Rule.Index != row.want {
			t.Errorf("%s: %s %s: got routes[%d] (%s %s), want routes[%d]", row.file, row.method,
				row.path, f.Rule.Index, f.Reason, f.Detail, row.want)
		}
	}
}
