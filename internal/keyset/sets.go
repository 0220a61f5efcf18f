package keyset

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/sallyport/sallyport/internal/config"
	"github.com/sallyport/sallyport/internal/daemon"
	"github.com/sallyport/sallyport/internal/jose"
	"github.com/sallyport/sallyport/internal/livefile"
	"github.com/sallyport/sallyport/internal/token"
)

// Sets are the key sets of all issuers that a gate trusts. All methods may be called from many
// goroutines.
type Sets struct {
	issuers []*issuer          // as configured
	byName  map[string]*issuer // those of one name
	shared  []shared           // those that stand for the issuers of many tenants
	now     func() time.Time
	log     *slog.Logger

	removals atomic.Uint64
	ready    atomic.Bool // once true, always true
	started  atomic.Pointer[time.Time]
	runner   runner
}

// Options is what a gate hands to its key sets beside the configuration.
type Options struct {
	Now      func() time.Time      // required
	Logger   *slog.Logger          // nil: silent
	Registry prometheus.Registerer // nil: metrics go nowhere
	// key_cache_dir: the folder in which last good sets are kept; "" keeps none
	CacheDir string
	Files    *livefile.Files // which looks after the files of authorities; nil: nobody does

	// OnRemoval, if set, is called after each of Removals. It must not block.
	OnRemoval func()
	// Transport replaces the way to the issuers, in tests.
	Transport http.RoundTripper
}

// New takes the configuration and the key sets kept from before. It makes no request. An entry that
// can not be (no audience, mixed algorithms, no source of keys, an issuer twice) is an error; keys
// that can not be had are none, here and later.
func New(cfgs []Config, o Options) (*Sets, error) {
	if o.Now == nil {
		return nil, errors.New("keyset: expected a clock in the options, got none")
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	m, err := newMetrics(o.Registry)
	if err != nil {
		return nil, err
	}
	if err := CheckNames(cfgs); err != nil {
		return nil, err
	}
	s := &Sets{byName: map[string]*issuer{}, now: o.Now, log: o.Logger}
	s.runner.failed = make(chan error, 1)
	for n, c := range cfgs {
		if err := s.add(n, c, o, m); err != nil {
			return nil, err
		}
	}
	return s, nil
}

func (s *Sets) add(n int, c Config, o Options, m *metrics) error {
	if err := c.Validate(); err != nil {
		return fmt.Errorf("keyset: issuers[%d]: %w", n, err)
	}
	c = c.withDefaults()
	kept, err := newKeptFile(o.CacheDir, c)
	if err != nil {
		return err
	}
	profile := c.Profile
	i := &issuer{
		profile: &profile,
		cfg:     c,
		now:     o.Now,
		log:     o.Logger,
		metrics: m,
		kept:    kept,
		removed: func() {
			s.removals.Add(1)
			if o.OnRemoval != nil {
				o.OnRemoval()
			}
		},
		runner:  &s.runner,
		woken:   make(chan struct{}, 1),
		revoked: map[string]time.Time{},
		said:    map[slog.Level]string{},
	}
	i.source = newSource(c, via(o.Transport), o.Files, o.Now, i.unfound)
	i.current.Store(&set{keys: map[string]*jose.PublicKey{}})
	m.show(c.Issuer, i.current.Load())
	// Before the gate is asked anything, so that it can start while an issuer is down.
	i.restore()
	s.issuers = append(s.issuers, i)
	if tenants, several := token.NewTenants(i.profile); several {
		s.shared = append(s.shared, shared{tenants, i})
	} else {
		s.byName[c.Issuer] = i
	}
	s.warn(c)
	return nil
}

func via(given http.RoundTripper) transport {
	if given == nil {
		return newTransport
	}
	return func(*x509.CertPool) http.RoundTripper { return given }
}

// warn logs at every start what an operator may have meant but should not forget.
func (s *Sets) warn(c Config) {
	if c.AnyAudience {
		s.log.Warn(
			"any_audience: tokens that this issuer made for any other service are accepted too",
			"issuer", c.Issuer)
	}
	if u, err := url.Parse(c.address()); err == nil && u.Scheme == "http" && !config.IsThisMachine(u.Hostname()) {
		s.log.Warn("key set: http lets anyone on the way put in keys of their own; use https",
			"issuer", c.Issuer, "address", c.address())
	}
}

// Run fetches and refreshes the sets until ctx ends, and returns nil then.
func (s *Sets) Run(ctx context.Context) error {
	if !s.runner.begin(ctx) {
		return errors.New("keyset: is running already")
	}
	began := s.now()
	s.started.CompareAndSwap(nil, &began)
	var tending sync.WaitGroup
	for _, i := range s.issuers {
		tending.Go(func() {
			s.runner.guard(func() { i.tend(ctx) })
		})
	}
	select {
	case <-ctx.Done():
		tending.Wait()
	case err := <-s.runner.failed:
		// Not waited for: the others may want a lock that the one that failed has held.
		return fmt.Errorf("keyset: %w", err)
	}
	// First the fetches end, then what they brought is kept.
	s.runner.end()
	for _, i := range s.issuers {
		i.dismiss()
		i.save()
	}
	return nil
}

// patience is how long a gate waits for an issuer that it has no keys of before it is ready
// without.
const patience = 30 * time.Second

// Ready is nil once the gate may be asked; see the package's comment for the rule. It stays nil.
func (s *Sets) Ready() error {
	if s.ready.Load() {
		return nil
	}
	var without []string
	for _, i := range s.issuers {
		if !i.current.Load().had() {
			without = append(without, i.why())
		}
	}
	began := s.started.Load()
	switch late := began != nil && s.now().Sub(*began) >= patience; {
	case began == nil && len(s.issuers) > 0:
		return errors.New("keyset: not running yet")
	case len(without) == 0:
	// One issuer that is down must not keep the tokens of the others out.
	case late && len(without) < len(s.issuers):
		s.log.Error("key set: ready without the keys of some issuers, whose tokens are denied",
			"issuers", without)
	default:
		return fmt.Errorf("keyset: no keys yet of %s", strings.Join(without, "; "))
	}
	s.ready.Store(true)
	return nil
}

// Check reads what is on this machine as a running gate would, keys, secrets and authorities, and
// returns all that is wrong with it. It asks no issuer and puts nothing in force. A gate starts in
// spite of what it finds, and refuses that issuer's tokens.
func (s *Sets) Check(ctx context.Context) error {
	var errs []error
	for _, i := range s.issuers {
		if err := i.check(ctx); err != nil {
			errs = append(errs, fmt.Errorf("keyset: keys of issuer %q: %w", i.profile.Issuer, err))
		}
	}
	return errors.Join(errs...)
}

// Reload fetches every set now and returns what failed; the sets that could be had are in force all
// the same.
func (s *Sets) Reload(ctx context.Context) error {
	errs := make([]error, len(s.issuers))
	var wg sync.WaitGroup
	for n, i := range s.issuers {
		wg.Go(func() { errs[n] = daemon.Guard(func() error { return i.reload(ctx) }) })
	}
	wg.Wait()
	return errors.Join(errs...)
}

// shared is an entry whose key set is that of many issuers.
type shared struct {
	token.Tenants
	issuer *issuer
}

// find returns the entry that stands for the issuer whose name is, byte for byte, iss: at most one
// does. It keeps nothing of the names that it is asked for.
func (s *Sets) find(iss string) (*issuer, bool) {
	if i, ok := s.byName[iss]; ok {
		return i, true
	}
	for n := range s.shared {
		if s.shared[n].Has(iss) {
			return s.shared[n].issuer, true
		}
	}
	return nil, false
}

// Profile returns the rules for the tokens of the issuer whose name is, byte for byte, the token's
// iss, and whether it is trusted. It is the same pointer for as long as the gate runs.
func (s *Sets) Profile(issuer string) (*token.Profile, bool) {
	i, ok := s.find(issuer)
	if !ok {
		return nil, false
	}
	return i.profile, true
}

// Key returns an issuer's key, or nil and the reason why there is none by that id: that the
// issuer's keys were never had, that the issuer has said so since the id was first asked for, or
// that nobody knows yet. An empty id stands for the one key that fits the algorithm; of several
// nobody knows which is meant, and there is none. It takes no lock when there is a key.
func (s *Sets) Key(issuer, keyID, algorithm string) (*jose.PublicKey, token.Reason) {
	i, ok := s.find(issuer)
	if !ok {
		return nil, token.ReasonUnknownIssuer
	}
	held := i.current.Load()
	if keyID == "" {
		key, why := held.one(algorithm)
		if key != nil && !i.signsFor(key, issuer) {
			return nil, token.ReasonKeyIDMissing
		}
		return key, why
	}
	if key, ok := held.keys[keyID]; ok && i.signsFor(key, issuer) {
		return key, ""
	} else if ok {
		return nil, token.ReasonUnknownKey // the set says whose it is: no fetch would say otherwise
	}
	return nil, i.without(keyID)
}

// Await has the set fetched for a kid that is not in it, and reports whether it is known now that
// the issuer has this key, or that it has not. One fetch is made for all who wait, half a second
// after the one before at the earliest. It returns false when that comes later than ctx ends, when
// the fetch fails, when too many callers wait already and when the kid is revoked.
func (s *Sets) Await(ctx context.Context, iss, kid string) bool {
	i, ok := s.find(iss)
	return ok && i.await(ctx, kid, false)
}

// AwaitAnew is Await for a caller whom no answer serves to a fetch that was begun before: it reports
// that the issuer lacks a key only by the word of one that was begun after the call.
func (s *Sets) AwaitAnew(ctx context.Context, iss, kid string) bool {
	i, ok := s.find(iss)
	return ok && i.await(ctx, kid, true)
}

// Removals counts how often a key has left a set or changed in it. What was verified when it was
// another number must be verified anew. Read it before the key: then a key that leaves in between
// can not be taken for one that stayed.
func (s *Sets) Removals() uint64 { return s.removals.Load() }

// RemoveKey takes a revoked key out of the issuer's set at once, and soon after out of its kept
// file. It comes back only by a fetch that began after until. An issuer that is not trusted here is
// none of ours. Where tenants share a set, the key is out of force for all of them: whoever has it
// signs for each.
func (s *Sets) RemoveKey(iss, kid string, until time.Time) {
	if i, ok := s.find(iss); ok {
		i.remove(kid, until)
		i.wake()
	}
}

// Status is what a gate knows of one issuer's keys.
type Status struct {
	Issuer string   `json:"issuer"`
	Source string   `json:"source"` // where the keys come from, as configured
	Keys   []string `json:"keys"`   // kids in force, sorted
	// when the issuer last said that these are its keys
	Fetched time.Time `json:"fetched,omitzero"`
	// they are kept from before this start and not confirmed since
	FromFile  bool   `json:"from_file,omitempty"`
	LastError string `json:"last_error,omitempty"` // why the last fetch failed; "" after a good one
}

// Status returns the state of every issuer's keys, as configured.
func (s *Sets) Status() []Status {
	all := make([]Status, 0, len(s.issuers))
	for _, i := range s.issuers {
		all = append(all, i.status())
	}
	return all
}
