package sender

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/sallyport/sallyport/internal/config"
	"github.com/sallyport/sallyport/internal/jose"
	"github.com/sallyport/sallyport/internal/keyset"
	"github.com/sallyport/sallyport/internal/livefile"
	"github.com/sallyport/sallyport/internal/token"
)

// Options is what senders are made of beside the configuration.
type Options struct {
	Now func() time.Time // required; for the keys alone: what a message says is judged by the log's time
	// Revoked reports whether a key of an issuer is revoked. nil: none is.
	Revoked  func(issuer, kid string) bool
	Logger   *slog.Logger          // nil: silent
	Registry prometheus.Registerer // nil: metrics go nowhere
	CacheDir string                // folder in which last good key sets are kept; "": none are
	Files    *livefile.Files       // which looks after the files of authorities; nil: nobody does

	// Transport replaces the way to the senders, in tests.
	Transport http.RoundTripper
}

// Senders are all issuers whose messages are believed. All methods may be called from many
// goroutines.
type Senders struct {
	configs  []Config
	byIssuer map[string]*Config
	sets     *keyset.Sets
	now      func() time.Time
	revoked  func(issuer, kid string) bool
	waiters  *keyset.Waiters
}

// New takes the configuration. It makes no request.
func New(configs []Config, o Options) (*Senders, error) {
	if o.Now == nil {
		return nil, errors.New("sender: expected a clock in the options, got none")
	}
	if o.Revoked == nil {
		o.Revoked = func(string, string) bool { return false }
	}
	s := &Senders{
		byIssuer: map[string]*Config{}, now: o.Now, revoked: o.Revoked,
		waiters: keyset.NewWaiters(keyWaiters, keyWait),
	}
	s.configs = make([]Config, len(configs))
	keys := make([]keyset.Config, len(configs))
	for n := range configs {
		c := &s.configs[n]
		*c = configs[n].withDefaults()
		at := fmt.Sprintf("senders[%d]", n)
		if err := c.Validate(); err != nil {
			return nil, config.Within(at, err)
		}
		if s.byIssuer[c.Issuer] != nil {
			return nil, config.At(at+".issuer", "sender: expected each issuer once, got %q twice", c.Issuer)
		}
		s.byIssuer[c.Issuer], keys[n] = c, c.keys()
	}
	var err error
	s.sets, err = keyset.New(keys, keyset.Options{
		Now: o.Now, Logger: o.Logger, Registry: o.Registry, CacheDir: o.CacheDir, Files: o.Files,
		Transport: o.Transport,
	})
	return s, err
}

// Configs returns the entries, with their defaults.
func (s *Senders) Configs() []Config { return s.configs }

// Run fetches and refreshes the senders' keys until ctx ends. A sender that cannot be asked stops
// nobody but itself.
func (s *Senders) Run(ctx context.Context) error { return s.sets.Run(ctx) }

// Reload fetches every sender's keys now and returns what failed.
func (s *Senders) Reload(ctx context.Context) error { return s.sets.Reload(ctx) }

// Check reads the files that entries name, and asks no sender.
func (s *Senders) Check(ctx context.Context) error { return s.sets.Check(ctx) }

// ErrKeyPending means that the key which a message names may be new, and could not be looked up
// now: the sender is to try again.
var ErrKeyPending = errors.New("sender: the message's key is not known and could not be looked up")

// keyWait is how long a message waits for the key that it names to be fetched.
const keyWait = 2 * time.Second

// keyWaiters is how many messages may wait at a time, whoever made them up: an eighth of those that
// are handled, since they hold places that known senders' need. The senders of the others are told
// to send them again.
const keyWaiters = 32

// anew are key sets that believe nobody's answer from before: a sender that is told that its key is
// unknown never tries again, and the message is lost.
type anew struct{ *keyset.Sets }

// Await implements what keyset.Waiters ask for.
func (a anew) Await(ctx context.Context, iss, kid string) bool { return a.AwaitAnew(ctx, iss, kid) }

// key returns the key that a message names, or the only one for the algorithm when it names none:
// one that is known, or is fetched for it.
func (s *Senders) key(ctx context.Context, from *Config, h token.Header) (*jose.PublicKey, error) {
	// Whoever stole a key must not end sessions by it. A sender with two names may have signed under
	// both. A revoked key is taken out of the set, so this comes before what the set says.
	revoked := func(kid string) bool {
		return s.revoked(from.Issuer, kid) || s.revoked(from.EndsSessionsOf(), kid)
	}
	if h.KeyID != "" && revoked(h.KeyID) {
		return nil, token.Refuse(token.ReasonRevoked, "the key that signed it is revoked")
	}
	key, why := s.sets.Key(from.Issuer, h.KeyID, h.Algorithm)
	if key == nil && h.KeyID != "" {
		known, _ := s.waiters.Await(ctx, anew{s.sets}, from.Issuer, h.KeyID)
		if !known {
			return nil, ErrKeyPending
		}
		key, why = s.sets.Key(from.Issuer, h.KeyID, h.Algorithm)
	}
	switch {
	case key != nil && revoked(key.ID()):
		return nil, token.Refuse(token.ReasonRevoked, "the key that signed it is revoked")
	case key != nil:
		return key, nil
	case why == token.ReasonKeyIDMissing:
		return nil, token.Refuse(why, "expected kid, or exactly one key of the sender for the algorithm")
	case why == token.ReasonUnknownKey:
		return nil, token.Refuse(why, "the sender has published no key by that kid")
	}
	return nil, ErrKeyPending
}
