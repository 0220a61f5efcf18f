package liveset

import (
	"slices"
	"sync/atomic"

	"github.com/sallyport/sallyport/internal/revocation"
)

// Add puts an entry into force. One of kind epoch revokes nothing and is not held.
func (s *Set) Add(e *revocation.Entry) {
	if !e.Kind.Revokes() {
		return
	}
	d := digestOf(s.key, e.Kind, e.Issuer, e.Value)
	s.mu.Lock()
	defer s.mu.Unlock()
	// Last: whoever has read the new number finds the entry.
	defer s.moved.Move(classOf(d))
	cutoff := packCutoff(e.IssuedBefore, e.Kind, s.reason(e.Reason))
	expiry := packExpiry(e.Expires, e.Seq)
	shard := s.shard(d)
	t := shard.Load()
	if t != nil {
		if held := t.find(d); held != nil {
			held.raise(cutoff, expiry)
			return
		}
	}
	if t == nil {
		t = newTable(1)
	} else if t.used >= t.full() {
		t = t.rebuilt(t.used+1, func(*slot) bool { return true })
	}
	// The number first: a reader that finds none of a kind does not look. The table last, when it
	// has the entry.
	s.live[e.Kind].Add(1)
	t.insert(slot{d, cutoff, expiry})
	shard.Store(t)
}

// raise takes the later cutoff with its reason, the later expiry, and the place in the log if there
// is a new one.
func (held *slot) raise(cutoff, expiry uint64) {
	if issuedBefore(cutoff) >= issuedBefore(held.cutoff) {
		atomic.StoreUint64(&held.cutoff, cutoff)
	}
	// An issuer's own entry has no place before it is in the log.
	seq := seqOf(expiry)
	if seq == 0 {
		seq = seqOf(held.expiry)
	}
	atomic.StoreUint64(&held.expiry, max(expiry>>seqBits, held.expiry>>seqBits)<<seqBits|seq)
}

// reason returns the number of a reason in the list.
func (s *Set) reason(r string) int {
	if i, ok := s.byReason[r]; ok {
		return i
	}
	known := *s.reasons.Load()
	if len(known) >= maxReasons || len(r) > revocation.MaxReason {
		return 0
	}
	// A copy: readers hold the list that was.
	known = append(slices.Clone(known), r)
	s.byReason[r] = len(known) - 1
	s.reasons.Store(&known)
	return len(known) - 1
}

// Sweep drops what has expired at now (unix milliseconds of a clock that is not ahead of any that
// tokens are judged by) from the next few shards in turn, and returns how many entries that were.
func (s *Set) Sweep(now int64, shards int) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	removed := 0
	for range min(shards, len(s.shards)) {
		removed += s.sweep(&s.shards[s.swept], now)
		s.swept = (s.swept + 1) % len(s.shards)
	}
	return removed
}

func (s *Set) sweep(shard *atomic.Pointer[table], now int64) int {
	t := shard.Load()
	if t == nil {
		return 0
	}
	var expired [revocation.NumKinds]int64
	total := 0
	t.each(func(e *slot) {
		if expires(e.expiry) <= now {
			expired[kindOf(e.cutoff)]++
			total++
		}
	})
	// Dropping means building the table anew. A shard with few expired entries is left for later, so
	// that at most a sixteenth of a Set is past its expiry.
	if total == 0 || total < t.used/16 {
		return 0
	}
	shard.Store(t.rebuilt(t.used-total, func(e *slot) bool { return expires(e.expiry) > now }))
	for k, n := range expired {
		s.live[k].Add(-n)
	}
	return total
}

// Last returns when the last entry expires that the Set holds (unix milliseconds); 0 when it holds
// none.
func (s *Set) Last() (last int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i := range s.shards {
		if t := s.shards[i].Load(); t != nil {
			t.each(func(e *slot) { last = max(last, expires(e.expiry)) })
		}
	}
	return last
}

// Shards is how many shards Sweep goes through in one round.
func (s *Set) Shards() int { return len(s.shards) }
