package policy

import (
	"testing"

	"github.com/sallyport/sallyport/internal/token"
)

// TestAnEncodedSlashIsPartOfItsSegment where the route permits it, and nowhere else.
func TestAnEncodedSlashIsPartOfItsSegment(t *testing.T) {
	p := compile(t,
		Route{Match: Match{Path: "/admin/**"}, Require: Require{Roles: []string{"admin"}}},
		Route{Match: Match{Path: "/projects/{id}"}, PathEncodedSlash: "allow"},
		Route{
			Match: Match{Path: "/projects/{id}/files/{name}"}, PathEncodedSlash: "allow",
			PathParameters: true,
		},
		Route{Match: Match{Path: "/npm/**"}, PathEncodedSlash: "allow"},
		Route{Match: Match{Path: "/files/secret/**"}, Require: Require{Roles: []string{"admin"}}},
		Route{Match: Match{Path: "/files/{name}"}, PathEncodedSlash: "allow"},
		Route{Match: Match{Path: "/plain/**"}},
	)
	for _, row := range []struct {
		path string
		want int // -1: a bad path
		id   string
	}{
		{"/projects/group%2Fproject", 1, "group/project"},
		{"/projects/group%2fproject", 1, "group/project"},
		{"/projects/a%2Fb%2Fc", 1, "a/b/c"},
		{"/projects/plain", 1, "plain"},
		{"/projects/a%2Fb/files/c%2Fd", 2, "a/b"},
		{"/npm/@scope%2Fname/-/name.tgz", 3, ""},
		{"/files/a%2Fb", 5, ""},
		{"/plain/a%2Fb", -1, ""},
		{"/admin%2Fx", -1, ""},
		{"/nowhere/a%2Fb", -1, ""},
		// what climbs, or is empty, if the slash were a plain one
		{"/projects/a%2F..%2Fb", -1, ""},
		{"/projects/..%2Fadmin", -1, ""},
		{"/projects/%2E%2E%2Fadmin", -1, ""},
		{"/projects/a%2F.%2Fb", -1, ""},
		{"/projects/a%2F%2Fb", -1, ""},
		{"/projects/%2Fadmin", -1, ""},
		{"/projects/a%2F", -1, ""},
		{"/projects/a%2F/files/b", -1, ""},
		{"/projects%2F%2Fa", -1, ""},
		// what is encoded twice, or otherwise
		{"/projects/a%252Fb", -1, ""},
		{"/projects/a%25%32Fb", -1, ""},
		{"/projects/a%5Cb", -1, ""},
		{"/projects/a%00b", -1, ""},
		{"/projects/a%00%2Fb", -1, ""},
		{"/projects/a%2F%3Bb", -1, ""},
		// whose parameters readers do not agree on
		{"/projects/a;x%2Fy/files/b", -1, ""},
		// what would be a stricter route's, if the slash were a plain one
		{"/files/secret%2Fkey", -1, ""},
	} {
		f := p.Find("GET", "h", row.path)
		if f.Rule.Index != row.want || row.want < 0 && f.Reason != token.ReasonBadPath {
			t.Errorf("%s: falls under routes[%d], reason %q", row.path, f.Rule.Index, f.Reason)
		}
		if got, _ := f.Variable("id"); row.want >= 0 && got != row.id {
			t.Errorf("%s: id is %q, want %q", row.path, got, row.id)
		}
	}
}

// TestAnotherCaseIsNoWayAroundARouteByAnEncodedSlash.
func TestAnotherCaseIsNoWayAroundARouteByAnEncodedSlash(t *testing.T) {
	p := compile(t,
		Route{Match: Match{Path: "/Projects/{id}"}, Require: Require{Roles: []string{"admin"}}},
		Route{Match: Match{Path: "/projects/{id}"}, PathEncodedSlash: "allow"},
	)
	if f := p.Find("GET", "h", "/projects/a%2Fb"); f.Rule.Index >= 0 {
		t.Errorf("falls under routes[%d]", f.Rule.Index)
	}
}
