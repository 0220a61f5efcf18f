package e2e_test

import (
	"strings"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/sallyport/sallyport/internal/meshtest"
)

// refusalForms refuses in a form that is negotiated, and on one route as Flask-JWT-Extended does.
const refusalForms = `  refusals: {as: negotiate, login_page: "/sign-in?next={path}"}
  routes:
  - {match: {path: /flask/**}, refusals: {as: flask-jwt-extended}}
`

// TestRefusalsReachTheirClientInTheFormThatItReads: through the real Envoy, by a gate beside and
// inside it.
func TestRefusalsReachTheirClientInTheFormThatItReads(t *testing.T) {
	seen := []meshtest.Change{{
		Old: "- {exact: x-access-token, ignore_case: true}",
		New: "- {exact: accept, ignore_case: true}\n" +
			"                          - {exact: content-type, ignore_case: true}",
	}}
	besideAndInside(t, refusalForms, nil, seen, func(t *testing.T, s *meshtest.Stack) {
		gateway := s.Endpoints().Gateway
		c := newCaller(t, gateway)
		for name, row := range map[string]struct {
			path, accept string
			status       int
			kind, body   string
		}{
			"a program": {"/protected", "*/*", 401, "application/json", `{"error":"unauthorized",`},
			"a problem": {"/protected", "application/problem+json", 401, "application/problem+json", `{"title":"Unauthorized","status":401,`},
			"a browser": {"/protected?a=b", "text/html", 302, "text/html; charset=utf-8", "<h1>Please log in</h1>"},
			"Flask":     {"/flask/x", "text/html", 401, "application/json", "{\"msg\":\"Missing Authorization Header\"}\n"},
		} {
			a := c.get(t, row.path, header("Accept", row.accept))
			if a.status != row.status || a.header.Get("Content-Type") != row.kind ||
				!strings.Contains(
					string(a.body),
					row.body,
				) || a.header.Get("X-Sallyport-Reason") != "no_token" {
				t.Errorf("%s: got %d %v %s", name, a.status, a.header, a.body)
			}
			if got := a.header.Get("Location"); (got == "/sign-in?next=%2Fprotected%3Fa%3Db") != (row.status == 302) {
				t.Errorf("%s: is sent to %q", name, got)
			}
			if row.kind == "application/json" && row.path == "/flask/x" &&
				a.header.Get("WWW-Authenticate") != "" {
				t.Errorf("%s: a challenge: %v", name, a.header)
			}
		}
		if a := c.get(t, "/flask/x", header("Authorization", "Bearer x")); a.status != 422 ||
			string(a.body) != "{\"msg\":\"Not enough segments\"}\n" {
			t.Errorf("a malformed token: got %d %s", a.status, a.body)
		}
		conn, err := grpc.NewClient(strings.TrimPrefix(gateway, "http://"),
			grpc.WithTransportCredentials(insecure.NewCredentials()))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = conn.Close() })
		err = conn.Invoke(t.Context(), "/api/Echo", &wrapperspb.StringValue{}, &wrapperspb.StringValue{})
		const want = "no_token: The route needs a token and the request carries none."
		if got := status.Convert(err); got.Code() != codes.Unauthenticated || got.Message() != want {
			t.Errorf("gRPC: got %v %q", got.Code(), got.Message())
		}
	})
}
