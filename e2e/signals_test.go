package e2e_test

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sallyport/sallyport/internal/eventually"
	"github.com/sallyport/sallyport/internal/mesh"
	"github.com/sallyport/sallyport/internal/meshtest"
	"github.com/sallyport/sallyport/internal/ssf"
	"github.com/sallyport/sallyport/internal/ssf/stream/streamtest"
)

// signalled is a mesh that hears of logouts from two transmitters: one pushes, one is polled.
type signalled struct {
	*meshtest.Stack
	pushing, polled *streamtest.Transmitter
}

const pushSecret = "Bearer of-the-pushing-transmitter"

func startSignalled(t *testing.T) *signalled {
	t.Helper()
	s := &signalled{pushing: streamtest.New(t), polled: streamtest.New(t)}
	dir := t.TempDir()
	file := func(name, content string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	senders := fmt.Sprintf(`
senders:
- issuer: %[1]s
  jwks_url: %[1]s/jwks
  audiences: [sallyport/stream-1]
  signals: {delivery: push, authorization_file: %[3]s}
- issuer: %[2]s
  jwks_url: %[2]s/jwks
  signals:
    delivery: poll
    client_id: %[4]s
    client_secret_file: %[5]s
    check_every: 1s
    poll_every: 20ms
`, s.pushing.URL, s.polled.URL, file("push", pushSecret), streamtest.Client,
		file("client", streamtest.Secret))
	entries := ""
	for _, tr := range []*streamtest.Transmitter{s.pushing, s.polled} {
		entries += fmt.Sprintf("\n- {issuer: %[1]q, jwks_url: %[1]s/jwks, audiences: [api], "+
			"algorithms: [RS256], typ: JWT}", tr.URL)
	}
	s.Stack = meshtest.Start(t, meshtest.Options{Issuers: 2, Mesh: func(o *mesh.Options) {
		o.Rewrite = func(name, content string) string {
			switch name {
			case "issuer.yaml":
				return content + senders
			case "authz.yaml":
				return strings.Replace(content, "\nissuers:", "\nissuers:"+entries, 1)
			}
			return content
		}
	}})
	return s
}

// token is an access token of a transmitter's issuer.
func token(t *testing.T, tr *streamtest.Transmitter, subject string) string {
	t.Helper()
	now := time.Now()
	text, err := tr.Key().Sign("JWT", fmt.Appendf(nil,
		`{"iss":%q,"sub":%q,"aud":"api","jti":"token of %[2]s","iat":%d,"exp":%d}`,
		tr.URL, subject, now.Unix(), now.Add(time.Hour).Unix()))
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// disabled is a message that a user's account is disabled.
func disabled(tr *streamtest.Transmitter, user string) string {
	return tr.Message("message of "+user, ssf.AccountDisabled.URI(), "{}",
		fmt.Sprintf(`{"format":"iss_sub","iss":%q,"sub":%q}`, tr.URL, user))
}

// push pushes a message as a transmitter does: again and again, to one issuer and another, until it
// is acknowledged.
func (s *signalled) push(ctx context.Context, n int, message string) error {
	for ctx.Err() == nil {
		n++
		issuers := s.Endpoints().Issuers
		r, err := http.NewRequestWithContext(ctx, http.MethodPost,
			issuers[n%len(issuers)].URL+"/security-events", strings.NewReader(message))
		if err != nil {
			return err
		}
		r.Header.Set("Content-Type", "application/secevent+jwt")
		r.Header.Set("Authorization", pushSecret)
		res, err := s.HTTP.Do(r)
		if err == nil {
			err = res.Body.Close()
		}
		switch {
		case err != nil: // it is down
		case res.StatusCode == http.StatusAccepted:
			return nil
		case res.StatusCode < 500:
			return fmt.Errorf("a message was answered %d", res.StatusCode)
		}
		select {
		case <-ctx.Done():
		case <-time.After(20 * time.Millisecond):
		}
	}
	return ctx.Err()
}

// TestNoSecurityEventIsAcknowledgedAndLost: 1,000 messages, half pushed and half polled, while
// issuers and Redis are killed among them. Each is acknowledged in the end, and what was
// acknowledged is in force.
func TestNoSecurityEventIsAcknowledgedAndLost(t *testing.T) {
	s := startSignalled(t)
	control := token(t, s.polled, "nobody")
	eventually.True(t, "the stream to be made", func() bool { return s.polled.Calls("POST /poll") > 0 })
	const rounds, each = 10, 50
	victims := []string{"issuer-1", "redis", "issuer-2", "redis", "issuer-1"}
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	var tokens []string
	for round := range rounds {
		var pushing sync.WaitGroup
		for n := range each {
			user := fmt.Sprintf("user-%d-%d", round, n)
			tokens = append(tokens, token(t, s.pushing, user), token(t, s.polled, user))
			message := disabled(s.pushing, user)
			s.polled.Send("message of "+user, disabled(s.polled, user))
			pushing.Go(func() {
				if err := s.push(ctx, n, message); err != nil {
					t.Error(err)
				}
			})
		}
		if round%2 == 0 {
			victim := s.Child(victims[round/2])
			if err := victim.Kill(); err != nil {
				t.Fatal(err)
			}
			if err := victim.Restart(ctx); err != nil {
				t.Fatal(err)
			}
		}
		pushing.Wait()
	}
	eventually.Within(t, 2*time.Minute, "all polled messages to be acknowledged", func() bool {
		return s.polled.Left() == 0
	})
	eventually.True(t, "a token that nobody has revoked to pass", func() bool {
		return s.Call("/protected", control).Status == http.StatusOK
	})
	for n, text := range tokens {
		a := s.Call("/protected", text)
		if reason := a.Header.Get("X-Sallyport-Reason"); a.Status != http.StatusUnauthorized || reason != "revoked" {
			t.Errorf("token %d: expected 401 revoked, got %d %s", n, a.Status, reason)
		}
	}
	if t.Failed() {
		return
	}
	t.Logf("%d messages, each acknowledged, each in force", 2*rounds*each)
}
