// Package liveset holds the live entries of the revocation log that each token is checked against:
// the [Set], which readers ask without a lock, and its [Snapshot] on disk.
//
// set.go has what is asked of a Set, set_write.go what changes it; table.go is the hash table under
// it, siphash.go the digests by which it knows names.
package liveset

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/sallyport/sallyport/internal/revocation"
)

// Set is the live entries that tokens are checked against. Check takes no lock and never waits; Add
// and Sweep lock each other out. A Set only forgets what has expired: what was once added denies
// until then, whatever log it came from. Two entries of one kind, issuer and value are one in the
// Set, with the later cutoff and the later expiry.
//
// A name is held as a digest of 128 bits, and an entry takes 33 bytes, of tables that are at least
// five sixths full.
type Set struct {
	key    Key
	skew   int64 // ms
	moved  *revocation.Versions
	shards []atomic.Pointer[table]
	live   [revocation.NumKinds]atomic.Int64

	reasons atomic.Pointer[[]string] // grows only; a slot holds an index

	mu       sync.Mutex
	byReason map[string]int
	swept    int // the next shard to sweep
}

const (
	defaultShards = 1024
	// maxReasons bounds the list of reasons, which nobody who revokes may grow for ever: further ones
	// read "other".
	maxReasons = 4096
)

// Config is how a Set judges and where its entries go.
type Config struct {
	ClockSkew time.Duration
	Key       Key
	Shards    int // a power of two; 0 means 1024, for a million entries and more
	// Versions move with what is added; nil: nobody remembers answers.
	Versions *revocation.Versions
}

// New returns an empty set.
func New(cfg Config) *Set {
	if cfg.Shards == 0 {
		cfg.Shards = defaultShards
	}
	s := &Set{
		key: cfg.Key, skew: cfg.ClockSkew.Milliseconds(), moved: cfg.Versions,
		shards: make([]atomic.Pointer[table], cfg.Shards), byReason: map[string]int{"other": 0},
	}
	s.reasons.Store(&[]string{"other"})
	return s
}

// MoveWith sets the Versions of a Set that nobody else knows yet.
func (s *Set) MoveWith(v *revocation.Versions) { s.moved = v }

// Check reports whether a token is revoked: by its session, by itself, by its key or by a cutoff.
// Revoked tokens stay so until the entry is swept, which is after the token has expired.
func (s *Set) Check(f *revocation.Facts) revocation.Verdict {
	if f.SessionID != "" {
		if v := s.named(revocation.KindSID, f.Issuer, f.SessionID); v.Revoked {
			return v
		}
	}
	if f.TokenID != "" {
		if v := s.named(revocation.KindJTI, f.Issuer, f.TokenID); v.Revoked {
			return v
		}
	}
	if f.KeyID != "" {
		if v := s.named(revocation.KindKID, f.Issuer, f.KeyID); v.Revoked {
			return v
		}
	}
	return s.checkCutoffs(f)
}

// checkCutoffs judges a session's token from our issuers by when the session began, and any other
// by its iat.
func (s *Set) checkCutoffs(f *revocation.Facts) revocation.Verdict {
	session := f.Ours && f.SessionID != ""
	// Another issuer's clock is not Redis', so its iat gets one clock_skew of leeway.
	from, leeway := f.IssuedAt, s.skew
	if session {
		from, leeway = f.AuthTime, 0
	}
	// A sub entry denies all of our sessions that began up to the cutoff's own second. Their sids
	// are entries of their own, unless Redis had lost the sessions before their user was logged out
	// everywhere. Issuers see to it that a session which begins after that has an auth_time in a
	// later second.
	if f.Subject != "" {
		if v := s.subject(f, from, leeway); v.Revoked {
			return v
		}
	}
	// Nobody sees to that for other cutoffs: an auth_time that lies after the token's own iat was
	// made by a clock that was ahead, and is not believed.
	if session {
		from = min(from, f.IssuedAt)
	}
	if f.ClientID != "" {
		if v := s.since(revocation.KindClient, f.Issuer, f.ClientID, from, leeway); v.Revoked {
			return v
		}
	}
	if f.Tenant != "" {
		if v := s.since(revocation.KindTenant, f.Issuer, f.Tenant, from, leeway); v.Revoked {
			return v
		}
	}
	return s.since(revocation.KindIss, f.Issuer, "", from, leeway)
}

// Classes appends the classes of all names by which Check looks for a token.
func (s *Set) Classes(f *revocation.Facts, to []revocation.Class) []revocation.Class {
	for _, name := range [revocation.MaxClasses]struct {
		kind  revocation.Kind
		value string
	}{
		{revocation.KindSID, f.SessionID}, {revocation.KindJTI, f.TokenID},
		{revocation.KindKID, f.KeyID}, {revocation.KindSub, f.Subject},
		{revocation.KindClient, f.ClientID}, {revocation.KindTenant, f.Tenant},
		{revocation.KindIss, ""},
	} {
		if name.value != "" || name.kind == revocation.KindIss {
			to = append(to, classOf(digestOf(s.key, name.kind, f.Issuer, name.value)))
		}
	}
	return to
}

// classOf uses bits that neither choose a shard nor a place in it.
func classOf(d digest) revocation.Class { return revocation.ClassOf(d.lo) }

// CheckSession returns what forbids the refresh of a session that began at began: its sid is
// revoked, or its subject, client, tenant or issuer has a cutoff at or after its beginning. KeyID,
// TokenID and times in f are ignored.
func (s *Set) CheckSession(f *revocation.Facts, began time.Time) revocation.Verdict {
	if v := s.named(revocation.KindSID, f.Issuer, f.SessionID); v.Revoked {
		return v
	}
	for _, c := range [...]struct {
		kind  revocation.Kind
		value string
	}{
		{revocation.KindSub, f.Subject}, {revocation.KindClient, f.ClientID},
		{revocation.KindTenant, f.Tenant}, {revocation.KindIss, ""},
	} {
		if c.value == "" && c.kind != revocation.KindIss {
			continue
		}
		if cutoff, expiry, ok := s.find(c.kind, f.Issuer, c.value); ok &&
			began.UnixMilli() <= issuedBefore(cutoff) {
			return s.verdict(cutoff, expiry)
		}
	}
	return revocation.Verdict{}
}

func (s *Set) named(k revocation.Kind, issuer, value string) revocation.Verdict {
	cutoff, expiry, ok := s.find(k, issuer, value)
	if !ok {
		return revocation.Verdict{}
	}
	return s.verdict(cutoff, expiry)
}

// since judges a time in unix seconds against a name's cutoff, which is in milliseconds. leeway is
// in milliseconds, too.
func (s *Set) since(k revocation.Kind, issuer, value string,
	from, leeway int64) revocation.Verdict {
	cutoff, expiry, ok := s.find(k, issuer, value)
	if !ok || from > (issuedBefore(cutoff)+leeway)/1000 {
		return revocation.Verdict{}
	}
	return s.verdict(cutoff, expiry)
}

// subject judges a token against its subject's cutoff. A session of another issuer goes on making
// tokens there, so what its tokens say of its beginning counts as well, if they say it.
func (s *Set) subject(f *revocation.Facts, from, leeway int64) revocation.Verdict {
	cutoff, expiry, ok := s.find(revocation.KindSub, f.Issuer, f.Subject)
	if !ok {
		return revocation.Verdict{}
	}
	// Without leeway: it would shut out, for as long as it lives, a session that begins right after.
	old := !f.Ours && f.AuthTime > 0 && f.AuthTime <= issuedBefore(cutoff)/1000
	if !old && from > (issuedBefore(cutoff)+leeway)/1000 {
		return revocation.Verdict{}
	}
	return s.verdict(cutoff, expiry)
}

func (s *Set) verdict(cutoff, expiry uint64) revocation.Verdict {
	return revocation.Verdict{
		Revoked: true, Kind: kindOf(cutoff), Reason: (*s.reasons.Load())[reasonOf(cutoff)],
		Seq: seqOf(expiry),
	}
}

func (s *Set) find(k revocation.Kind, issuer, value string) (cutoff, expiry uint64, ok bool) {
	// Most installations have entries of two kinds: the other five cost no hash.
	if s.live[k].Load() == 0 {
		return 0, 0, false
	}
	d := digestOf(s.key, k, issuer, value)
	t := s.shard(d).Load()
	if t == nil {
		return 0, 0, false
	}
	found := t.find(d)
	if found == nil {
		return 0, 0, false
	}
	return atomic.LoadUint64(&found.cutoff), atomic.LoadUint64(&found.expiry), true
}

func (s *Set) shard(d digest) *atomic.Pointer[table] {
	return &s.shards[d.hi&uint64(len(s.shards)-1)]
}

// Live is the number of entries held of a kind.
func (s *Set) Live(k revocation.Kind) int64 { return s.live[k].Load() }
