package meshtest

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"slices"
	"strings"

	"github.com/sallyport/sallyport/internal/mesh"
)

// Tokens is what the issuer answers to /login and /refresh.
type Tokens struct {
	AccessToken      string `json:"access_token"`
	TokenType        string `json:"token_type"`
	ExpiresIn        int    `json:"expires_in"` // seconds
	RefreshToken     string `json:"refresh_token"`
	RefreshExpiresIn int    `json:"refresh_expires_in"` // seconds
}

// Response is an answer that has been read whole.
type Response struct {
	Status int
	Header http.Header
	Body   []byte
	s      *Stack
}

// JSON reads the body into dst, and fails the test when it is no such JSON.
func (r *Response) JSON(dst any) {
	r.s.t.Helper()
	if err := json.Unmarshal(r.Body, dst); err != nil {
		r.s.t.Fatalf("expected JSON, got %q: %v", r.Body, err)
	}
}

// Received returns what the upstream says it has received. The test fails when the answer is not
// the upstream's.
func (r *Response) Received() mesh.Received {
	r.s.t.Helper()
	if r.Status != http.StatusOK {
		r.s.t.Fatalf("expected an answer of the upstream, got %d: %s", r.Status, r.Body)
	}
	var received mesh.Received
	r.JSON(&received)
	return received
}

// Do sends a request and reads the answer. The test fails when there is none.
func (s *Stack) Do(request *http.Request) *Response {
	s.t.Helper()
	response, err := s.HTTP.Do(request)
	if err != nil {
		s.t.Fatal(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		s.t.Fatal(err)
	}
	return &Response{Status: response.StatusCode, Header: response.Header, Body: body, s: s}
}

// NewRequest makes a request through the gateway. Headers are "Name: value".
func (s *Stack) NewRequest(method, path, body string, headers ...string) *http.Request {
	s.t.Helper()
	request, err := http.NewRequestWithContext(s.t.Context(), method, s.Endpoints().Gateway+path,
		strings.NewReader(body))
	if err != nil {
		s.t.Fatal(err)
	}
	for _, h := range headers {
		name, value, ok := strings.Cut(h, ": ")
		if !ok {
			s.t.Fatalf("meshtest: expected a header as \"Name: value\", got %q", h)
		}
		request.Header.Add(name, value)
	}
	return request
}

// Call gets a path through the gateway, with the access token as bearer unless it is empty.
func (s *Stack) Call(path, token string, headers ...string) *Response {
	s.t.Helper()
	if token != "" {
		headers = append(slices.Clone(headers), "Authorization: Bearer "+token)
	}
	return s.Do(s.NewRequest(http.MethodGet, path, "", headers...))
}

// Post sends JSON through the gateway. A body that is no string is marshalled.
func (s *Stack) Post(path string, body any, headers ...string) *Response {
	s.t.Helper()
	text, ok := body.(string)
	if !ok {
		var b bytes.Buffer
		if err := json.NewEncoder(&b).Encode(body); err != nil {
			s.t.Fatal(err)
		}
		text = b.String()
	}
	headers = append([]string{"Content-Type: application/json"}, headers...)
	return s.Do(s.NewRequest(http.MethodPost, path, text, headers...))
}

// User returns a user of the mesh.
func (s *Stack) User(name string) mesh.User {
	s.t.Helper()
	users := s.Endpoints().Users
	i := slices.IndexFunc(users, func(u mesh.User) bool { return u.Name == name })
	if i < 0 {
		s.t.Fatalf("meshtest: the mesh has no user %q", name)
	}
	return users[i]
}

// Login logs a user of the mesh in.
func (s *Stack) Login(name string) Tokens {
	s.t.Helper()
	return s.tokens(
		s.Post("/login", map[string]string{"username": name, "password": s.User(name).Password}))
}

// Refresh spends a refresh token.
func (s *Stack) Refresh(t Tokens) Tokens {
	s.t.Helper()
	return s.tokens(s.Post("/refresh", map[string]string{"refresh_token": t.RefreshToken}))
}

// Logout ends a session by its access token.
func (s *Stack) Logout(t Tokens) {
	s.t.Helper()
	response := s.Do(
		s.NewRequest(http.MethodPost, "/logout", "", "Authorization: Bearer "+t.AccessToken))
	var answer struct {
		Revoked bool `json:"revoked"`
	}
	if response.Status == http.StatusOK {
		response.JSON(&answer)
	}
	if !answer.Revoked {
		s.t.Fatalf("logout: expected 200 and revoked, got %d: %s", response.Status, response.Body)
	}
}

func (s *Stack) tokens(r *Response) Tokens {
	s.t.Helper()
	if r.Status != http.StatusOK {
		s.t.Fatalf("expected tokens, got %d: %s", r.Status, r.Body)
	}
	var t Tokens
	r.JSON(&t)
	if t.AccessToken == "" || t.RefreshToken == "" {
		s.t.Fatal("expected an access token and a refresh token, one is missing")
	}
	return t
}
