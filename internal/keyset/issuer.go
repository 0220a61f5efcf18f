package keyset

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sallyport/sallyport/internal/jose"
	"github.com/sallyport/sallyport/internal/token"
)

// issuer is one trusted issuer: how its tokens are read, and its keys.
type issuer struct {
	profile *token.Profile
	cfg     Config
	source  source
	now     func() time.Time
	log     *slog.Logger
	metrics *metrics
	removed func()    // told when a key has left or changed
	kept    *keptFile // nil: the set is not kept
	runner  *runner
	woken   chan struct{} // holds one: there is something to do before next

	fetching sync.Mutex // one fetch at a time

	current atomic.Pointer[set] // never nil

	mu       sync.Mutex            // for what follows, and for whoever changes current
	revoked  map[string]time.Time  // kid -> until when it must not come back
	trouble  string                // why the last fetch failed; "" after a good one
	said     map[slog.Level]string // what was last said about keys that are left out
	failures int                   // in a row
	failing  time.Time             // when the first of them began
	alarmed  bool                  // they were told of as an error
	strayed  string                // why the metadata could not be had; "" when they could
	begun    uint64                // fetches that were begun
	last     time.Time             // when the last fetch began
	next     time.Time             // of the next fetch
	unsaved  bool
	demand   demand
}

// set is an issuer's keys as one good answer gave them. It never changes.
type set struct {
	keys      map[string]*jose.PublicKey
	etag      string
	confirmed time.Time // when the fetch began that last said so; zero: never
	answered  time.Time // when it was answered
	fromFile  bool      // confirmed before this start only
	fetch     uint64    // the number of the fetch that last said so; 0: none of this process
}

// had reports whether the issuer's keys were ever had, by this process or out of its kept file.
func (s *set) had() bool { return !s.confirmed.IsZero() }

// one returns the one key that fits an algorithm, or nil and why there is not exactly one.
func (s *set) one(algorithm string) (one *jose.PublicKey, why token.Reason) {
	if !s.had() {
		return nil, token.ReasonNoKeys
	}
	for _, k := range s.keys {
		switch {
		case !k.Fits(algorithm):
		case one != nil:
			// Which of several is meant, nobody can tell: no signature is tried with each in turn.
			return nil, token.ReasonKeyIDMissing
		default:
			one = k
		}
	}
	if one == nil {
		return nil, token.ReasonKeyIDMissing
	}
	return one, ""
}

// number returns the next fetch its number, before it begins: whoever asked for a key before that is
// answered by it. The caller holds i.mu.
func (i *issuer) number() uint64 {
	i.begun++
	return i.begun
}

// fetch asks the source once and takes what it says.
func (i *issuer) fetch(ctx context.Context, number uint64) error {
	i.fetching.Lock()
	defer i.fetching.Unlock()
	i.mu.Lock()
	etag := i.current.Load().etag
	if len(i.revoked) > 0 {
		etag = "" // a revoked key is missing in our set, so it is not the one that the etag names
	}
	i.mu.Unlock()
	began := i.now()
	a, err := i.source.get(ctx, etag)
	if err == nil {
		err = i.take(a, began, number)
	} else if len(a.skipped) > 0 {
		i.mu.Lock()
		i.tell(a.skipped, false)
		i.mu.Unlock()
	}
	if err != nil && ctx.Err() == nil { // at the gate's end nothing has failed
		i.failed(err, began)
	}
	if err != nil {
		return fmt.Errorf("keyset: keys of issuer %q from %s: %w", i.profile.Issuer, i.source, err)
	}
	return nil
}

// take puts an answer in force, or refuses it whole.
func (i *issuer) take(a answer, began time.Time, number uint64) error {
	i.mu.Lock()
	defer i.mu.Unlock()
	old := i.current.Load()
	// Confirmed when the fetch began, not when it ended: what changed in between it does not show.
	fresh := &set{
		keys: old.keys, etag: a.etag, confirmed: began, answered: i.now(),
		fetch: max(number, old.fetch),
	}
	if !a.unchanged {
		usable, skipped, err := i.usable(a)
		i.tell(skipped, err == nil)
		if err != nil {
			return err
		}
		fresh.keys = i.unrevoked(usable, began)
	}
	i.put(fresh)
	result := "new"
	if a.unchanged || same(old.keys, fresh.keys) {
		result = "unchanged"
	}
	i.metrics.fetches.WithLabelValues(i.profile.Issuer, result).Inc()
	if result == "new" || i.trouble != "" {
		i.log.Info("key set: in force", "issuer", i.profile.Issuer, "source", i.source.String(),
			"keys", len(fresh.keys))
	}
	i.failures, i.trouble, i.alarmed = 0, "", false
	i.last, i.next = began, began.Add(i.after(a.refresh))
	i.demand.pause = demandEvery
	return nil
}

// usable picks the keys that this issuer can have signed with. A set without one is no answer: the
// last good set stays.
func (i *issuer) usable(a answer) (map[string]*jose.PublicKey, []error, error) {
	keys, skipped := make(map[string]*jose.PublicKey, len(a.keys)), a.skipped
	for _, k := range a.keys {
		if !fits(k, i.profile.Algorithms) {
			skipped = append(skipped, &jose.KeyError{
				Problem: jose.ProblemUnwanted, KeyID: k.ID(),
				Detail: "expected a key for " + strings.Join(i.profile.Algorithms, ", "),
			})
			continue
		}
		// Of two secrets with one id, the gate would otherwise take whichever came last. In a
		// published set no id stands twice any more.
		if other, twice := keys[k.ID()]; twice && !k.Equal(other) {
			return nil, skipped, fmt.Errorf("different keys stand under the id %q", k.ID())
		}
		keys[k.ID()] = k
	}
	if len(keys) == 0 {
		return nil, skipped, fmt.Errorf("expected a key for %v in the set, got none",
			i.profile.Algorithms)
	}
	return keys, skipped, nil
}

// unrevoked leaves out the keys that must not come back yet, by a fetch that began then.
func (i *issuer) unrevoked(keys map[string]*jose.PublicKey,
	began time.Time) map[string]*jose.PublicKey {
	for kid, until := range i.revoked {
		if began.After(until) {
			delete(i.revoked, kid)
		} else {
			delete(keys, kid)
		}
	}
	return keys
}

// put makes s the set in force. First the set, then the count: what was verified between the
// two counts as verified before.
func (i *issuer) put(s *set) {
	old := i.current.Swap(s)
	for kid, k := range old.keys {
		if now, ok := s.keys[kid]; !ok || !now.Equal(k) {
			i.metrics.removed.WithLabelValues(i.profile.Issuer).Inc()
			i.removed()
			break
		}
	}
	i.unsaved = true
	i.metrics.show(i.profile.Issuer, s)
}

func same(a, b map[string]*jose.PublicKey) bool {
	return maps.EqualFunc(a, b, (*jose.PublicKey).Equal)
}

func (i *issuer) failed(err error, began time.Time) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.failures++; i.failures == 1 {
		i.failing = began
	}
	pause := i.backoff()
	i.last, i.next = began, began.Add(pause)
	i.demand.pause = min(pause, demandFailing)
	i.metrics.fetches.WithLabelValues(i.profile.Issuer, "failed").Inc()
	held := i.current.Load()
	// An issuer that starts beside this gate is not there yet.
	level := slog.LevelError
	if (!held.had() || held.fromFile) && began.Sub(i.failing) < patience {
		level = slog.LevelWarn
	}
	text := err.Error()
	if text == i.trouble && (i.alarmed || level < slog.LevelError) {
		return
	}
	i.trouble, i.alarmed = text, level == slog.LevelError
	about := []any{"issuer", i.profile.Issuer, "source", i.source.String(), "error", err}
	if !held.had() {
		i.log.Log(context.Background(), level,
			"key set: fetch failed, and there are no keys yet: the issuer's tokens are refused until "+
				"one succeeds",
			about...)
		return
	}
	i.log.Log(context.Background(), level, "key set: fetch failed, going on with the last good set",
		append(about, "keys", len(held.keys), "confirmed", held.confirmed)...)
}

// unfound tells once that an issuer's metadata cannot be had and that the address of before goes
// on.
func (i *issuer) unfound(err error) {
	i.metrics.unfound.WithLabelValues(i.profile.Issuer).Inc()
	i.mu.Lock()
	defer i.mu.Unlock()
	if text := err.Error(); text != i.strayed {
		i.strayed = text
		i.log.Warn("key set: discovery failed, going on with the address of before", "issuer",
			i.profile.Issuer, "error", err)
	}
}

// tell logs the keys that are left out, once for as long as they are the same. Those for another
// purpose than signatures, or for another algorithm, are in order beside keys that can be used, and
// are neither warned of nor counted.
func (i *issuer) tell(skipped []error, usable bool) {
	var others, broken []error
	for _, err := range skipped {
		problem := jose.ProblemOf(err)
		if usable && (problem == jose.ProblemUse || problem == jose.ProblemUnwanted) {
			others = append(others, err)
		} else {
			broken = append(broken, err)
		}
	}
	i.tellOnce(slog.LevelInfo, "key set: keys for other purposes or algorithms are left out", others)
	i.tellOnce(slog.LevelWarn, "key set: some keys can not be used", broken)
	i.metrics.skipped.WithLabelValues(i.profile.Issuer).Set(float64(len(broken)))
}

func (i *issuer) tellOnce(level slog.Level, what string, skipped []error) {
	text := summary(skipped)
	if text != i.said[level] && text != "" {
		i.log.Log(context.Background(), level, what, "issuer", i.profile.Issuer, "source",
			i.source.String(), "skipped", len(skipped), "reasons", text)
	}
	i.said[level] = text
}

// after is when to refresh a set that its source allows to be kept for said: ahead of need, and not
// at the same time as every other gate.
func (i *issuer) after(said time.Duration) time.Duration {
	switch {
	case i.cfg.address() == "":
		return said // a file
	case said == 0:
		said = defaultRefresh
	}
	keep := min(max(said, i.cfg.RefreshMin), i.cfg.RefreshMax)
	return spread(keep, 0.7, 0.9)
}

const (
	retryFirst = time.Second
	retryMax   = time.Minute
	retryBare  = 10 * time.Second // while there are no keys at all
)

// backoff is when to try again after a failure.
func (i *issuer) backoff() time.Duration {
	limit := min(retryMax, i.cfg.RefreshMax)
	if !i.current.Load().had() {
		limit = min(retryBare, limit)
	}
	wait := retryFirst << min(i.failures-1, 10)
	return spread(min(wait, limit), 0.5, 1)
}

// spread is a random time between the fractions from and to of d.
func spread(d time.Duration, from, to float64) time.Duration {
	return time.Duration(float64(d) * (from + (to-from)*rand.Float64()))
}

func (i *issuer) check(ctx context.Context) error {
	if w, ok := i.source.(interface{ check() error }); ok {
		return w.check() // no request is made
	}
	a, err := i.source.get(ctx, "")
	if err != nil {
		return err
	}
	_, _, err = i.usable(a)
	if err != nil {
		err = fmt.Errorf("%s: %w", i.source, err)
	}
	return err
}

// remove takes a revoked key out of the set and of the kept file.
func (i *issuer) remove(kid string, until time.Time) {
	i.mu.Lock()
	defer i.mu.Unlock()
	// Kept also when the key is not here: it may be on its way.
	if until.After(i.revoked[kid]) {
		i.revoked[kid] = until
	}
	i.unsaved = true
	old := i.current.Load()
	if _, ok := old.keys[kid]; !ok {
		return
	}
	fresh := *old
	fresh.etag = ""
	fresh.keys = maps.Clone(old.keys)
	delete(fresh.keys, kid)
	i.put(&fresh)
	i.log.Warn("key set: a revoked key is out of force", "issuer", i.profile.Issuer, "kid", kid,
		"until", until)
}

// signsFor reports whether a key may have signed a token whose iss is that. In a set that serves
// many issuers, a key may be for some of them alone: with one of those it could otherwise sign for
// all.
func (i *issuer) signsFor(key *jose.PublicKey, iss string) bool {
	return i.profile.Tenants == nil || key.Issuer() == "" || key.Issuer() == iss ||
		token.IsTenantOf(key.Issuer(), iss)
}
