package extauthz

import (
	"strconv"
	"testing"
	"time"

	"github.com/sallyport/sallyport/authz"
	"github.com/sallyport/sallyport/authz/authztest"
	"github.com/sallyport/sallyport/internal/token"
)

// duration asks, and gives the milliseconds for which Envoy may let the stream live; -1 when nothing was said.
func (b *bench) duration(t *testing.T, r authz.Request) int {
	t.Helper()
	got := b.ask(t, false)(r)
	if got.Status != 200 {
		t.Fatalf("refused: %d %v", got.Status, got.Headers)
	}
	for _, h := range got.Set {
		if h.Name == headerStreamDuration {
			ms, err := strconv.Atoi(h.Value)
			if err != nil {
				t.Fatal(err)
			}
			return ms
		}
	}
	return -1
}

func TestStreamsEndWithTheirToken(t *testing.T) {
	b := start(t, authztest.New())
	alice := "Bearer " + b.world.Token()
	left := int((50 * time.Minute).Milliseconds())
	for name, row := range map[string]struct {
		r    authz.Request
		want int
	}{
		"a websocket":             {authztest.Get("/protected", "authorization", alice, "connection", "Upgrade", "upgrade", "websocket"), left},
		"a gRPC call":             {authztest.Do("POST", "/protected", "authorization", alice, "content-type", "application/grpc+proto"), left},
		"an event stream":         {authztest.Get("/protected", "authorization", alice, "accept", "text/event-stream"), left},
		"an extended CONNECT":     {authztest.Do("CONNECT", "/protected", "authorization", alice), left},
		"an ordinary request":     {authztest.Get("/protected", "authorization", alice, "accept", "text/html", "content-type", "application/json"), -1},
		"a websocket for anybody": {authztest.Get("/public", "upgrade", "websocket"), -1},
	} {
		t.Run(name, func(t *testing.T) {
			if got := b.duration(t, row.r); got != row.want {
				t.Errorf("got %d ms, want %d", got, row.want)
			}
		})
	}
}

func TestAStreamWhoseTokenIsAboutToExpireHasALeastTime(t *testing.T) {
	b := start(t, authztest.New())
	for _, left := range []time.Duration{time.Second, 0, -20 * time.Second} {
		tok := b.world.Token(func(c *token.Claims) { c.Expiry = b.world.Now.Add(left).Unix() })
		if got := b.duration(t, authztest.Get("/protected", "authorization", "Bearer "+tok, "upgrade", "websocket")); got != 5000 {
			t.Errorf("%v before its expiry: got %d ms", left, got)
		}
	}
}

func TestStreamsAreLeftAloneWhenConfiguredSo(t *testing.T) {
	b := start(t, authztest.New(), func(c *Config) { c.Streams = StreamConfig{} })
	if got := b.duration(t, authztest.Get("/protected", "authorization", "Bearer "+b.world.Token(), "upgrade", "websocket")); got != -1 {
		t.Errorf("got %d ms", got)
	}
}
