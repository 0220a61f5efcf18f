package e2e_test

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/websocket"

	"github.com/sallyport/sallyport/internal/mesh"
	"github.com/sallyport/sallyport/internal/meshtest"
)

// tokenSources has tokens stand in a cookie and a subprotocol, too, and for one route in the query.
const tokenSources = `  tokens:
  - {authorization: Bearer, remove: true}
  - {cookie: session, remove: true}
  - {websocket: bearer.}
  routes:
  - {match: {path: /download}, query_token: access_token}
`

// sourcesSeen has Envoy show the gate where tokens stand.
var sourcesSeen = meshtest.Change{
	Old: "- {exact: x-access-token, ignore_case: true}",
	New: "- {exact: cookie, ignore_case: true}\n" +
		"                          - {exact: sec-websocket-protocol, ignore_case: true}",
}

// receiving is an upstream that answers with what it was asked, also over a websocket, for which it
// chooses the first subprotocol.
func receiving() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Upgrade") == "" {
			w.Header().Set("Content-Type", "application/json")
			_ = json.NewEncoder(w).Encode(mesh.Receive(r)) // the client sees what came of it
			return
		}
		received := mesh.Receive(r)
		websocket.Server{
			Handshake: func(c *websocket.Config, _ *http.Request) error {
				c.Protocol = c.Protocol[:min(len(c.Protocol), 1)]
				return nil
			},
			Handler: func(conn *websocket.Conn) { _ = websocket.JSON.Send(conn, received) },
		}.ServeHTTP(w, r)
	})
}

// TestATokenIsTakenFromWhereThePolicySaysAndGoesNoFurther: through the real Envoy, by a gate beside
// and inside it.
func TestATokenIsTakenFromWhereThePolicySaysAndGoesNoFurther(t *testing.T) {
	besideAndInside(t, tokenSources, receiving(), []meshtest.Change{sourcesSeen},
		func(t *testing.T, s *meshtest.Stack) {
			gateway := s.Endpoints().Gateway
			c := newCaller(t, gateway)
			token := c.login(t, user(t, s, "bob")).Access
			for name, row := range map[string]struct {
				path  string
				edits []edit
				want  mesh.Received
			}{
				"Authorization": {"/protected?a=b", []edit{bearer(token)}, mesh.Received{Path: "/protected?a=b"}},
				"a cookie": {
					"/protected", []edit{header("Cookie", "a=b; session="+token+"; c=d")},
					mesh.Received{Path: "/protected", Headers: map[string]string{"cookie": "a=b; c=d"}},
				},
				"a cookie alone":  {"/protected", []edit{header("Cookie", "session="+token)}, mesh.Received{Path: "/protected"}},
				"the query":       {"/download?a=b%20c&access_token=" + token + "&d", nil, mesh.Received{Path: "/download?a=b%20c&d"}},
				"the query alone": {"/download?access_token=" + token, nil, mesh.Received{Path: "/download"}},
				"what is public": {
					"/public", []edit{header("Cookie", "session=x; a=b"), bearer("x")},
					mesh.Received{Path: "/public", Headers: map[string]string{"cookie": "a=b"}},
				},
			} {
				a := c.get(t, row.path, row.edits...)
				if a.status != http.StatusOK {
					t.Errorf("%s: got %d %s", name, a.status, a.header.Get("x-sallyport-reason"))
					continue
				}
				got := a.reached(t)
				path := strings.TrimSuffix(strings.ReplaceAll(got.Path, "&d=", "&d"), "?")
				if path != row.want.Path || got.Headers["cookie"] != row.want.Headers["cookie"] ||
					got.Headers["authorization"] != "" {
					t.Errorf("%s: the upstream received %s with %v", name, got.Path, got.Headers)
				}
				if text, err := json.Marshal(got); err != nil || strings.Contains(string(text), token) {
					t.Errorf("%s: the token has gone on, %v", name, err)
				}
			}
			for name, row := range map[string]struct {
				path, reason string
				edits        []edit
			}{
				"a cookie and Authorization":  {"/protected", "many_tokens", []edit{bearer(token), header("Cookie", "session="+token)}},
				"two cookies":                 {"/protected", "many_tokens", []edit{header("Cookie", "session="+token+"; session="+token)}},
				"the query where no route is": {"/protected?access_token=" + token, "no_token", nil},
				"the query and a cookie":      {"/download?access_token=" + token, "many_tokens", []edit{header("Cookie", "session="+token)}},
				"the query by an escape":      {"/download?access%5Ftoken=" + token, "many_tokens", nil},
				"where it is not looked for":  {"/protected", "no_token", []edit{header("x-access-token", token)}},
				"a cookie that is no token":   {"/protected", "segments", []edit{header("Cookie", "session=x")}},
			} {
				a := c.get(t, row.path, row.edits...)
				if a.status != http.StatusUnauthorized || a.header.Get("x-sallyport-reason") != row.reason {
					t.Errorf("%s: got %d %s", name, a.status, a.header.Get("x-sallyport-reason"))
				}
			}
			config, err := websocket.NewConfig(
				"ws"+strings.TrimPrefix(gateway, "http")+"/api/websocket",
				gateway,
			)
			if err != nil {
				t.Fatal(err)
			}
			config.Protocol = []string{"chat", "bearer." + token, "chat2"}
			conn, err := websocket.DialConfig(config)
			if err != nil {
				t.Fatalf("a websocket with its token in a subprotocol: %v", err)
			}
			t.Cleanup(func() { _ = conn.Close() })
			var got mesh.Received
			if err := conn.SetDeadline(time.Now().Add(20 * time.Second)); err != nil {
				t.Fatal(err)
			}
			if err := websocket.JSON.Receive(conn, &got); err != nil ||
				got.Headers["sec-websocket-protocol"] != "chat, chat2" || got.Headers["x-auth-subject"] != "bob" {
				t.Errorf("the websocket's upstream received %v, %v", got.Headers, err)
			}
		})
}
