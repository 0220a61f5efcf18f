package extauthz

import (
	"strconv"
	"testing"
	"time"

	"github.com/sallyport/sallyport/authz"
	"github.com/sallyport/sallyport/authz/authztest"
	"github.com/sallyport/sallyport/authz/check"
	"github.com/sallyport/sallyport/internal/token"
)

// duration asks, and returns the milliseconds for which Envoy may let the stream live; -1 when
// nothing was said.
func (b *bench) duration(t *testing.T, r authz.Request) int {
	t.Helper()
	got := b.send(t, encoded(r, false))
	if answerOf(t, got).Status != 200 {
		t.Fatalf("refused: %v", got)
	}
	for _, h := range headersOf(t, got.GetOkResponse().GetHeaders()) {
		if h.Name == check.HeaderStreamDuration {
			ms, err := strconv.Atoi(h.Value)
			if err != nil {
				t.Fatal(err)
			}
			return ms
		}
	}
	return -1
}

// TestWhatATokenOpensEndsWithIt, whatever the request says of its kind.
func TestWhatATokenOpensEndsWithIt(t *testing.T) {
	b := start(t, authztest.New())
	alice := "Bearer " + b.world.Token()
	left := int((50 * time.Minute).Milliseconds())
	for name, row := range map[string]struct {
		r    authz.Request
		want int
	}{
		"a websocket": {
			authztest.Get("/protected", "authorization", alice, "connection", "Upgrade", "upgrade",
				"websocket"),
			left,
		},
		"a gRPC call": {
			authztest.Do("POST", "/protected", "authorization", alice, "content-type",
				"application/grpc+proto"),
			left,
		},
		"a gRPC call in capitals": {
			authztest.Do("POST", "/protected", "authorization", alice, "content-type", "Application/GRPC"),
			left,
		},
		"an event stream": {
			authztest.Get("/protected", "authorization", alice, "accept", "text/event-stream"), left,
		},
		"an event stream in capitals": {
			authztest.Get("/protected", "authorization", alice, "accept", "Text/Event-Stream"), left,
		},
		"anything that there is": {
			authztest.Get("/protected", "authorization", alice, "accept", "*/*"), left,
		},
		"an extended CONNECT": {
			authztest.Do("CONNECT", "/protected", "authorization", alice), left,
		},
		"what says nothing": {authztest.Get("/protected", "authorization", alice), left},
		"what says that it is no stream": {
			authztest.Get("/protected", "authorization", alice, "accept", "text/html", "content-type",
				"application/json"),
			left,
		},
		"where a token is optional": {authztest.Get("/maybe", "authorization", alice), left},
		"where it may be stale":     {authztest.Get("/tolerant", "authorization", alice), left},
		"with a header to be removed": {
			authztest.Get("/protected", "authorization", alice, "x_auth_subject", "root"), left,
		},
		"where the route says otherwise": {
			authztest.Get("/download", "authorization", alice, "accept", "text/event-stream"), -1,
		},
		"a websocket for anybody": {authztest.Get("/public", "upgrade", "websocket"), -1},
		"anybody's, with a token": {authztest.Get("/public", "authorization", alice), -1},
		"where a token is optional, without": {
			authztest.Get("/maybe", "accept", "text/event-stream"), -1,
		},
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
		if got := b.duration(t,
			authztest.Get("/protected", "authorization", "Bearer "+tok, "upgrade",
				"websocket")); got != 5000 {
			t.Errorf("%v before its expiry: got %d ms", left, got)
		}
	}
}

// TestAStreamEndsAtItsBoundIfThatIsSooner than its token's end; also where the route or the settings
// say that a token's end is no end, since a revocation ends no stream that is open. What is open to
// anybody has no bound.
func TestAStreamEndsAtItsBoundIfThatIsSooner(t *testing.T) {
	bounded := func(c check.StreamConfig) *bench {
		return start(t, authztest.New(), func(all *Config) { all.Streams = c })
	}
	least := 5 * time.Second
	b := bounded(check.StreamConfig{EndAtExpiry: true, Least: least, Max: 10 * time.Minute})
	soon := b.world.Token(func(c *token.Claims) { c.Expiry = b.world.Now.Add(time.Minute).Unix() })
	never := bounded(check.StreamConfig{Max: 10 * time.Minute})
	for name, row := range map[string]struct {
		b           *bench
		path, token string
		want        time.Duration
	}{
		"a long life":              {b, "/protected", b.world.Token(), 10 * time.Minute},
		"a short one":              {b, "/protected", soon, time.Minute},
		"a route of long answers":  {b, "/download", b.world.Token(), 10 * time.Minute},
		"where a token's optional": {b, "/maybe", b.world.Token(), 10 * time.Minute},
		"no end at expiry":         {never, "/protected", never.world.Token(), 10 * time.Minute},
		"anybody":                  {b, "/public", b.world.Token(), -time.Millisecond},
	} {
		r := authztest.Get(row.path, "authorization", "Bearer "+row.token)
		if got := row.b.duration(t, r); got != int(row.want.Milliseconds()) {
			t.Errorf("%s: got %d ms, want %v", name, got, row.want)
		}
	}
	for bound, ok := range map[time.Duration]bool{
		0: true, 5 * time.Second: true, time.Hour: true, time.Second: false, time.Millisecond: false,
		-time.Second: false, 10000 * time.Hour: false,
	} {
		c := check.StreamConfig{EndAtExpiry: true, Least: least, Max: bound}
		if err := c.Validate(); (err == nil) != ok {
			t.Errorf("%v: got %v", bound, err)
		}
	}
}

func TestStreamsAreLeftAloneWhenConfiguredSo(t *testing.T) {
	b := start(t, authztest.New(), func(c *Config) { c.Streams = check.StreamConfig{} })
	if got := b.duration(t,
		authztest.Get("/protected", "authorization", "Bearer "+b.world.Token(), "upgrade",
			"websocket")); got != -1 {
		t.Errorf("got %d ms", got)
	}
}
