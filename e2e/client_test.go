// Package e2e_test holds the product to its word from outside: through the real Envoy, on a real
// redis-server.
package e2e_test

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/sallyport/sallyport/internal/mesh"
)

// answer is one HTTP answer, read whole.
type answer struct {
	status int
	header http.Header
	body   []byte
}

// field returns one member of a JSON object body, nil when it is not there.
func (a answer) field(t *testing.T, name string) any {
	t.Helper()
	return a.object(t)[name]
}

func (a answer) object(t *testing.T) map[string]any {
	t.Helper()
	var object map[string]any
	if err := json.Unmarshal(a.body, &object); err != nil {
		t.Fatalf("answer %d is not a JSON object: %v\n%s", a.status, err, a.body)
	}
	return object
}

// tokens is what a login or a refresh hands out.
type tokens struct {
	Access         string `json:"access_token"`
	Type           string `json:"token_type"`
	ExpiresIn      int    `json:"expires_in"`
	Refresh        string `json:"refresh_token"`
	RefreshExpires int    `json:"refresh_expires_in"`
}

// caller sends requests to one base URL and follows no redirect.
type caller struct {
	base string
	http *http.Client
}

func newCaller(t *testing.T, base string) *caller {
	transport := &http.Transport{MaxIdleConnsPerHost: 64}
	t.Cleanup(transport.CloseIdleConnections)
	return &caller{base: base, http: &http.Client{
		Transport:     transport,
		Timeout:       20 * time.Second,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
}

// edit changes a request before it is sent.
type edit func(*http.Request)

func header(name, value string) edit {
	return func(r *http.Request) { r.Header.Add(name, value) }
}

func bearer(token string) edit { return header("Authorization", "Bearer "+token) }

func (c *caller) send(t *testing.T, method, path string, body []byte, edits ...edit) answer {
	t.Helper()
	a, err := c.try(method, path, body, edits...)
	if err != nil {
		t.Fatalf("%s %s: %v", method, path, err)
	}
	return a
}

// try is send for callers that expect the connection itself to fail, or that are not the test's own
// goroutine.
func (c *caller) try(method, path string, body []byte, edits ...edit) (answer, error) {
	r, err := http.NewRequest(method, c.base+path, bytes.NewReader(body))
	if err != nil {
		return answer{}, err
	}
	for _, e := range edits {
		e(r)
	}
	response, err := c.http.Do(r)
	if err != nil {
		return answer{}, err
	}
	defer response.Body.Close()
	content, err := io.ReadAll(io.LimitReader(response.Body, 1<<20))
	return answer{response.StatusCode, response.Header, content}, err
}

func (c *caller) get(t *testing.T, path string, edits ...edit) answer {
	t.Helper()
	return c.send(t, http.MethodGet, path, nil, edits...)
}

// post sends value as JSON.
func (c *caller) post(t *testing.T, path string, value any, edits ...edit) answer {
	t.Helper()
	body, err := json.Marshal(value)
	if err != nil {
		t.Fatal(err)
	}
	return c.send(t, http.MethodPost, path, body,
		append([]edit{header("Content-Type", "application/json")}, edits...)...)
}

func (c *caller) login(t *testing.T, u mesh.User) tokens {
	t.Helper()
	return c.post(t, "/login", map[string]string{"username": u.Name, "password": u.Password}).tokens(t)
}

func (a answer) tokens(t *testing.T) tokens {
	t.Helper()
	if a.status != http.StatusOK {
		t.Fatalf("expected tokens, got %d\n%s", a.status, a.body)
	}
	var got tokens
	if err := json.Unmarshal(a.body, &got); err != nil {
		t.Fatal(err)
	}
	if got.Access == "" || got.Refresh == "" {
		t.Fatalf("an answer without tokens: members %v", keys(a.object(t)))
	}
	return got
}

func keys(object map[string]any) []string {
	var names []string
	for name := range object {
		names = append(names, name)
	}
	return names
}

// refused asserts everything that a refusal of a gate says: status, challenge, JSON body and
// reason.
func (a answer) refused(t *testing.T, status int, code, reason string) {
	t.Helper()
	if a.status != status {
		t.Fatalf("status %d, expected %d %s\n%s", a.status, status, code, a.body)
	}
	if got := a.header.Get("X-Sallyport-Reason"); got != reason {
		t.Errorf("x-sallyport-reason is %q, expected %q", got, reason)
	}
	object := a.object(t)
	if object["error"] != code || object["error_description"] == "" ||
		object["error_description"] == nil {
		t.Errorf("body %s, expected error %q with a description", a.body, code)
	}
	challenge := a.header.Get("WWW-Authenticate")
	switch status {
	case http.StatusUnauthorized:
		if !strings.HasPrefix(challenge, `Bearer realm="`) {
			t.Errorf("WWW-Authenticate is %q, expected a Bearer challenge with a realm", challenge)
		}
		if has := strings.Contains(challenge, `error="invalid_token"`); has != (reason != "no_token") {
			t.Errorf(
				"WWW-Authenticate is %q for reason %s: invalid_token belongs there just when there was a token",
				challenge, reason)
		}
	case http.StatusForbidden:
		if code == "insufficient_scope" && !strings.Contains(challenge, `error="insufficient_scope"`) {
			t.Errorf("WWW-Authenticate is %q, expected insufficient_scope", challenge)
		}
	}
}

// reached asserts that the request came through, and returns what the upstream received.
func (a answer) reached(t *testing.T) mesh.Received {
	t.Helper()
	if a.status != http.StatusOK {
		t.Fatalf("status %d, expected the upstream's 200 (reason %q)\n%s", a.status,
			a.header.Get("X-Sallyport-Reason"), a.body)
	}
	var got mesh.Received
	if err := json.Unmarshal(a.body, &got); err != nil {
		t.Fatalf("not the upstream's answer: %v\n%s", err, a.body)
	}
	return got
}
