package credential

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"net/netip"
	"strconv"
	"sync"
	"time"

	"github.com/sallyport/sallyport/internal/gcra"
)

// ThrottledError says that there were too many attempts, and when it is worth trying again.
type ThrottledError struct {
	RetryAfter time.Duration
	By         string // which limit: address_attempts, address, pair, name or name_logins
}

// Error returns the wait, rounded up to seconds.
func (e *ThrottledError) Error() string {
	return fmt.Sprintf("credential: too many attempts: expected the next one in %v",
		e.RetryAfter.Truncate(time.Second)+time.Second)
}

// throttle decides whether a login is looked at. See Limits for the rules and limit for how counts
// are kept.
type throttle struct {
	now   func() time.Time
	start time.Time
	key   [32]byte // of the digests

	mu       sync.Mutex
	attempts *limit
	address  *limit
	pair     *limit
	name     *limit
	network  *limit
	familiar *familiar

	pairAttempts *limit // AddressAttempts again, of each familiar name at an address by itself
	logins       *limit // by name
}

// networkGroups is how many groups of networks a name's NetworkFailures are counted in.
const networkGroups = 64

func newThrottle(l Limits, now func() time.Time) *throttle {
	t := &throttle{
		now:      now,
		start:    now(),
		attempts: newLimit("address_attempts", l.AddressAttempts),
		address:  newLimit("address", l.AddressFailures),
		pair:     newLimit("pair", l.PairFailures),
		name:     newLimit("name", l.NameFailures),
		network:  newLimit("name", l.NetworkFailures),
		familiar: newFamiliar(),

		pairAttempts: newLimit("address_attempts", l.AddressAttempts),
		logins:       newLimit(ByNameLogins, l.NameLogins),
	}
	rand.Read(t.key[:])
	return t
}

// limit is one Rate at work, for any number of keys in fixed memory. Keys that share cells of the
// sketch hardly push each other up: each failure that is counted has cost a password hash, and no
// machine computes enough of these to fill the cells faster than they empty.
type limit struct {
	by     string // ThrottledError.By
	counts *gcra.Sketch[digest]
	under  map[digest]int // attempts under way, as many as may hash or wait
}

const limitColumns = 1 << 16 // a limit takes 2 MiB

func newLimit(by string, r Rate) *limit {
	counts := gcra.New[digest](r.Burst, r.Every, limitColumns)
	return &limit{by: by, counts: counts, under: map[digest]int{}}
}

// refuse returns when there will be room for one more besides those under way; nil when there is.
func (l *limit) refuse(now time.Duration, key digest) *ThrottledError {
	if wait := l.counts.Wait(now, key, l.under[key]+1); wait > 0 {
		return &ThrottledError{RetryAfter: wait, By: l.by}
	}
	return nil
}

func (l *limit) enter(key digest) { l.under[key]++ }

func (l *limit) exit(key digest) {
	if l.under[key]--; l.under[key] <= 0 {
		delete(l.under, key)
	}
}

// attempt is one login that is being looked at. Until it ends it counts as a failure, so that many
// at once are no more than many in a row.
type attempt struct {
	throttle *throttle
	address  digest
	pair     digest
	name     digest
	network  digest
	failed   bool

	place place // in the queue for a password hash
	// over is the limit that others at this address, or for this name, have used up: only the right
	// password passes then. A wrong one is answered as if it had not been looked at, so that the
	// answer does not tell who has logged in from here.
	over *ThrottledError
}

// ByNameLogins is ThrottledError.By of a right password: the name has logged in too often.
const ByNameLogins = "name_logins"

// begin admits a login, or returns why not. The caller must call end.
func (t *throttle) begin(name string, from netip.Addr) (*attempt, *ThrottledError) {
	a := t.identify(name, from)
	t.mu.Lock()
	defer t.mu.Unlock()
	now := t.clock()
	a.place.familiar = t.familiar.has(a.name, a.pair)
	attempts := t.attempts.refuse(now, a.address)
	shared := longest(attempts, t.address.refuse(now, a.address))
	// NameFailures alone would let strangers lock a user out, NetworkFailures alone would let those
	// with many networks guess as often as they like: only both together refuse.
	if byName := t.name.refuse(now, a.name); byName != nil && t.network.refuse(now, a.network) != nil {
		shared = longest(shared, byName)
	}
	// What others have used up does not keep out a name that has logged in from this address. Its
	// own counts do: what it may fail, and what an address may try, here counted for it alone.
	own := t.pair.refuse(now, a.pair)
	switch {
	case !a.place.familiar:
		own = longest(own, shared)
	case attempts != nil:
		own = longest(own, t.pairAttempts.refuse(now, a.pair))
	}
	if own != nil {
		return nil, own
	}
	a.over = shared
	// A regular who passes although the address has used up its attempts adds nothing to them: else
	// he would keep out the newcomers behind his address for longer.
	if attempts == nil {
		t.attempts.counts.Add(now, a.address)
	}
	t.pairAttempts.counts.Add(now, a.pair)
	t.address.enter(a.address)
	t.pair.enter(a.pair)
	t.name.enter(a.name)
	t.network.enter(a.network)
	return a, nil
}

// fail makes the attempt count as a failure.
func (a *attempt) fail() { a.failed = true }

// succeed makes the address a familiar one of the name. It returns an error when the name has
// logged in too often.
func (a *attempt) succeed() *ThrottledError {
	t := a.throttle
	t.mu.Lock()
	defer t.mu.Unlock()
	t.familiar.add(a.name, a.pair)
	now := t.clock()
	if refused := t.logins.refuse(now, a.name); refused != nil {
		return refused
	}
	t.logins.counts.Add(now, a.name)
	return nil
}

// end stops the attempt from counting, except as the failure it may have been.
func (a *attempt) end() {
	t := a.throttle
	t.mu.Lock()
	defer t.mu.Unlock()
	now := t.clock()
	// AddressAttempts and NameLogins are not among these: they have been counted when they happened.
	for _, c := range []struct {
		limit *limit
		key   digest
	}{{t.address, a.address}, {t.pair, a.pair}, {t.name, a.name}, {t.network, a.network}} {
		c.limit.exit(c.key)
		if a.failed {
			c.limit.counts.Add(now, c.key)
		}
	}
}

// identify returns the attempt with all that the login is counted under.
func (t *throttle) identify(name string, from netip.Addr) *attempt {
	address, network := places(from)
	// The group of networks depends on the name, and on the secret key: nobody can choose networks
	// that fall into the same group as a user's.
	hashed := t.digestOf("group", name, network)
	group := binary.BigEndian.Uint64(hashed[:8]) % networkGroups
	pair := t.digestOf("pair", name, address)
	wide, narrow := neighbours(from)
	return &attempt{
		throttle: t,
		address:  t.digestOf("address", "", address),
		pair:     pair,
		name:     t.digestOf("name", name, ""),
		network:  t.digestOf("network", name, strconv.FormatUint(group, 10)),
		place: place{path: [placeDepth]digest{
			t.digestOf("wide", "", wide), t.digestOf("narrow", "", narrow), pair,
		}},
	}
}

// places returns the address and the network that a login is counted under: what one subscriber,
// and what one provider or company, is usually given. An address that is not known is one address.
func places(from netip.Addr) (address, network string) {
	from = from.Unmap().WithZone("")
	narrow, wide := 64, 32
	if from.Is4() {
		narrow, wide = 32, 16
	}
	if !from.IsValid() {
		return "unknown", "unknown"
	}
	a, _ := from.Prefix(narrow) // both lengths are in range
	n, _ := from.Prefix(wide)
	return a.String(), n.String()
}

// neighbours returns the networks that a login takes turns by: what one site is given at most, and
// what one subscriber is.
func neighbours(from netip.Addr) (wide, narrow string) {
	from = from.Unmap().WithZone("")
	wideBits, narrowBits := 48, 56
	if from.Is4() {
		wideBits, narrowBits = 24, 32
	}
	if !from.IsValid() {
		return "unknown", "unknown"
	}
	w, _ := from.Prefix(wideBits) // all these lengths are in range
	n, _ := from.Prefix(narrowBits)
	return w.String(), n.String()
}

// digest stands for a name, an address or both.
type digest [sha256.Size]byte

// digestOf hashes what is counted, keyed by a secret prefix: digests never leave the process, so
// nobody can extend one.
func (t *throttle) digestOf(kind, name, place string) digest {
	b := make([]byte, 0, 256)
	b = append(b, t.key[:]...)
	b = append(append(b, kind...), 0)
	b = binary.BigEndian.AppendUint32(b, uint32(len(name)))
	b = append(append(b, name...), place...)
	return sha256.Sum256(b)
}

// clock is the time since the start: it never goes back, whatever the wall clock does.
func (t *throttle) clock() time.Duration { return t.now().Sub(t.start) }

// longest returns the longer wait of two; nil is none.
func longest(a, b *ThrottledError) *ThrottledError {
	if a == nil || b != nil && b.RetryAfter > a.RetryAfter {
		return b
	}
	return a
}
