package e2e_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/sallyport/sallyport/internal/mesh"
	"github.com/sallyport/sallyport/internal/meshtest"
)

// endless answers with an event stream that goes on until the client, or Envoy, ends it.
var endless http.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "text/event-stream")
	beat := time.NewTicker(50 * time.Millisecond)
	defer beat.Stop()
	for {
		if _, err := io.WriteString(w, "data: on and on\n\n"); err != nil {
			return
		}
		if err := http.NewResponseController(w).Flush(); err != nil {
			return
		}
		select {
		case <-beat.C:
		case <-r.Context().Done():
			return
		}
	}
})

// TestAnEventStreamEndsWithItsTokenHoweverItWasAskedFor: the client has no say in whether its
// request is one that ends with its token. Media types have no case, `*/*` is any of them, and many
// a server sends events to whoever asks for nothing.
func TestAnEventStreamEndsWithItsTokenHoweverItWasAskedFor(t *testing.T) {
	const lifetime = 4 * time.Second
	s := meshtest.Start(t, with(func(o *mesh.Options) {
		o.Upstream = endless
		o.IssuerArgs = []string{"--access-token-lifetime=" + lifetime.String()}
		o.GateArgs = []string{"--ext-authz-streams-least=1s"}
	}))
	c := newCaller(t, s.Endpoints().Gateway)
	token := c.login(t, user(t, s, "alice")).Access
	// Long after the token's end, and long before the end that a route has for other reasons.
	ctx, cancel := context.WithTimeout(t.Context(), lifetime+20*time.Second)
	defer cancel()
	asPost := func(r *http.Request) { r.Method = http.MethodPost }
	var streams sync.WaitGroup
	for name, edits := range map[string][]edit{
		"as is usual":      {header("Accept", "text/event-stream")},
		"in another case":  {header("Accept", "Text/Event-Stream")},
		"in capitals":      {header("Accept", "TEXT/EVENT-STREAM;q=1")},
		"anything":         {header("Accept", "*/*")},
		"any text":         {header("Accept", "text/*")},
		"something else":   {header("Accept", "application/json")},
		"nothing":          {},
		"an empty Accept":  {header("Accept", "")},
		"no body, as PUT":  {func(r *http.Request) { r.Method = http.MethodPut }},
		"a form, as POST":  {asPost, header("Content-Type", "application/x-www-form-urlencoded")},
		"gRPC in capitals": {asPost, header("Content-Type", "Application/gRPC-Web")},
	} {
		streams.Go(func() {
			got, err := c.stream(ctx, "/protected", append(edits, bearer(token))...)
			switch {
			case errors.Is(ctx.Err(), context.DeadlineExceeded):
				t.Errorf("%s: the stream has outlived its token by 20 s", name)
			case err == nil || got == 0:
				t.Errorf("%s: got %d bytes and %v, expected a stream that is broken off", name, got, err)
			}
		})
	}
	streams.Wait()
}

// TestAStreamEndsAtItsBoundBeforeItsToken, which lives for a quarter of an hour; the next one is
// checked, and a token that was revoked meanwhile opens none.
func TestAStreamEndsAtItsBoundBeforeItsToken(t *testing.T) {
	s := meshtest.Start(t, with(func(o *mesh.Options) {
		o.Upstream = endless
		o.GateArgs = []string{"--ext-authz-streams-least=1s", "--ext-authz-streams-max=2s"}
	}))
	c := newCaller(t, s.Endpoints().Gateway)
	token := c.login(t, user(t, s, "alice")).Access
	ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
	defer cancel()
	stream, err := c.open(ctx, "/protected", bearer(token))
	if err != nil {
		t.Fatal(err)
	}
	defer stream.Body.Close()
	if a := c.send(t, "POST", "/logout", nil, bearer(token)); a.status != 200 {
		t.Errorf("logout: %d %s", a.status, a.body)
	}
	got, err := io.Copy(io.Discard, stream.Body)
	if ctx.Err() != nil || err == nil || got == 0 || stream.StatusCode != 200 {
		t.Errorf("got %d, %d bytes and %v, expected a stream that is broken off", stream.StatusCode, got, err)
	}
	c.get(t, "/protected", bearer(token)).refused(t, 401, "invalid_token", "revoked")
}

// stream reads an answer to its end, however far away that is.
func (c *caller) stream(ctx context.Context, path string, edits ...edit) (int64, error) {
	response, err := c.open(ctx, path, edits...)
	if err != nil {
		return 0, err
	}
	defer response.Body.Close()
	return io.Copy(io.Discard, response.Body)
}

// open returns an answer that has begun.
func (c *caller) open(ctx context.Context, path string, edits ...edit) (*http.Response, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, c.base+path, nil)
	if err != nil {
		return nil, err
	}
	for _, e := range edits {
		e(r)
	}
	return (&http.Client{Transport: c.http.Transport}).Do(r)
}
