package sender_test

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sallyport/sallyport/internal/jose"
	"github.com/sallyport/sallyport/internal/jose/josetest"
	"github.com/sallyport/sallyport/internal/sender"
	"github.com/sallyport/sallyport/internal/token"
)

const (
	issuerA = "https://a.example"
	issuerB = "https://b.example"
)

var kind = sender.Kind{
	Types:  []string{"logout+jwt", "JWT"},
	MaxAge: func(c *sender.Config) time.Duration { return c.MaxMessageAge },
}

// clock is a time in the test's hands.
type clock struct{ atomic.Int64 }

func newClock() *clock {
	c := &clock{}
	c.Store(time.Now().UnixMilli())
	return c
}

func (c *clock) now() time.Time          { return time.UnixMilli(c.Load()) }
func (c *clock) advance(d time.Duration) { c.Add(d.Milliseconds()) }

// published is an issuer's key set behind HTTP.
type published struct {
	*httptest.Server
	mu    sync.Mutex
	keys  []*josetest.Key
	away  bool
	asked atomic.Int64
	held  chan struct{} // answers wait until it is closed; nil: they do not
}

// hold has answers wait until the test is over.
func (p *published) hold(t *testing.T) {
	held := make(chan struct{})
	p.mu.Lock()
	defer p.mu.Unlock()
	p.held = held
	t.Cleanup(func() { close(held) })
}

func publish(t *testing.T, keys ...*josetest.Key) *published {
	p := &published{keys: keys}
	p.Server = httptest.NewServer(p)
	t.Cleanup(p.Close)
	return p
}

func (p *published) set(away bool, keys ...*josetest.Key) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.away, p.keys = away, keys
}

func (p *published) ServeHTTP(w http.ResponseWriter, _ *http.Request) {
	p.mu.Lock()
	held := p.held
	p.mu.Unlock()
	if held != nil {
		<-held
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.asked.Add(1)
	var all []*jose.PublicKey
	for _, k := range p.keys {
		all = append(all, k.Public())
	}
	set, err := jose.MarshalKeySet(all)
	if p.away || err != nil {
		http.Error(w, "away", http.StatusBadGateway)
		return
	}
	_, _ = w.Write(set)
}

// world is two senders, and what verifies their messages.
type world struct {
	t       *testing.T
	clock   *clock
	a, b    *josetest.Key
	keysOfA *published
	senders *sender.Senders
	revoked map[string]bool // by issuer and kid
}

func newWorld(t *testing.T, change func(a *sender.Config)) *world {
	t.Helper()
	w := &world{
		t: t, clock: newClock(), a: josetest.NewKey("RS256", "key-a"), b: josetest.NewKey("ES256", "key-b"),
		revoked: map[string]bool{},
	}
	w.keysOfA = publish(t, w.a)
	keysOfB := publish(t, w.b)
	a := sender.Config{Issuer: issuerA, Audiences: []string{"shop"}, JWKSURL: w.keysOfA.URL}
	if change != nil {
		change(&a)
	}
	b := sender.Config{
		Issuer: issuerB, Audiences: []string{"shop"}, JWKSURL: keysOfB.URL, Algorithms: []string{"ES256"},
	}
	var err error
	w.senders, err = sender.New([]sender.Config{a, b}, sender.Options{
		Now:     w.clock.now,
		Revoked: func(issuer, kid string) bool { return w.revoked[issuer+" "+kid] },
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- w.senders.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	if err := w.senders.Reload(ctx); err != nil {
		t.Fatal(err)
	}
	return w
}

// claims are those of a good message of A.
func (w *world) claims() josetest.Object {
	return josetest.Object(nil).
		With("iss", josetest.Text(issuerA)).
		With("aud", josetest.Text("shop")).
		With("iat", josetest.Seconds(w.clock.now())).
		With("exp", josetest.Seconds(w.clock.now().Add(2*time.Minute))).
		With("jti", josetest.Text("message-1")).
		With("sid", josetest.Text("session-1")).
		With("events", `{"http://schemas.openid.net/event/backchannel-logout":{}}`)
}

func (w *world) verify(compact string) (*sender.Message, error) {
	return w.senders.Verify(context.Background(), compact, w.clock.now(), kind)
}

// wantRefused checks the reason, and whether the sender is known by then.
func wantRefused(t *testing.T, err error, reason token.Reason, authentic bool) {
	t.Helper()
	var refused *sender.Refusal
	if !errors.As(err, &refused) || refused.Reason != reason || refused.Authentic != authentic {
		t.Errorf("expected a refusal for %s, authentic %v, got %v %+v", reason, authentic, err, refused)
		return
	}
	if strings.Contains(refused.Error(), "hostile") {
		t.Errorf("the refusal shows a part of the message: %v", refused)
	}
}
