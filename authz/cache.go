package authz

import (
	"hash/maphash"
	"math"
	"math/bits"
	"strings"
	"sync/atomic"
	"time"

	"github.com/sallyport/sallyport/internal/config"
)

// CacheConfig bounds the cache of verified tokens, key `cache` of a gate.
type CacheConfig struct {
	Entries int `yaml:"entries" usage:"how many verified tokens are kept; 0 keeps none"`
	Bytes   int `yaml:"bytes" usage:"how many bytes they may take together"`
}

// DefaultCacheConfig keeps 65,536 tokens in at most 64 MiB.
func DefaultCacheConfig() CacheConfig { return CacheConfig{Entries: 1 << 16, Bytes: 64 << 20} }

const maxCacheEntries = 1 << 24

// Validate checks the bounds.
func (c CacheConfig) Validate() error {
	switch {
	case c.Entries < 0 || c.Entries > maxCacheEntries:
		return config.At("entries", "expected 0 to %d, got %d", maxCacheEntries, c.Entries)
	case c.Bytes < 0:
		return config.At("bytes", "expected 0 or more, got %d", c.Bytes)
	}
	return nil
}

// bucketSize is how many tokens share one bucket of the table; the one that was used least lately
// makes room.
const bucketSize = 8

// newcomer is how far behind the last use of a token stands one that has been presented only once:
// many of those, as a client gets who refreshes without end, make room for each other, and not those
// of everybody else.
const newcomer = 30 * time.Second

// cache remembers verified tokens. Readers and writers take no lock: each slot is one pointer to
// something immutable. A token is found by a keyed hash that no stranger can aim at, and then
// compared whole. All of a token is immutable but when it was used, which is written once a second.
type cache struct {
	seed      maphash.Seed
	buckets   int // a power of two; 0 keeps nothing
	budget    int64
	table     atomic.Pointer[table]
	replacing atomic.Bool // somebody is making the next table
}

// table holds what was verified after so many removals of keys, and before the next.
type table struct {
	removals uint64
	bytes    atomic.Int64
	slots    []atomic.Pointer[cached]
}

// cached is one token with what its signature said.
type cached struct {
	presented string // the whole token
	hash      uint64
	size      int64
	used      atomic.Int64 // the second in which it was last looked up; newcomer earlier if it was not
	*verified
}

// slot is where a token is, or belongs.
type slot struct {
	table    *table // nil: nowhere
	hash     uint64
	now      int64     // the second in which it was looked for
	verified *verified // nil: not there
}

func newCache(c CacheConfig) *cache {
	k := &cache{seed: maphash.MakeSeed(), budget: int64(c.Bytes)}
	if c.Entries > 0 { // at least as many buckets as the entries need
		k.buckets = 1 << bits.Len(uint((c.Entries-1)/bucketSize))
	}
	k.table.Store(k.newTable(0))
	return k
}

func (k *cache) newTable(removals uint64) *table {
	return &table{removals: removals, slots: make([]atomic.Pointer[cached], k.buckets*bucketSize)}
}

// find looks a token up, for a request that was seen at a moment of the monotonic clock. removals must
// have been read before the keys that a miss is verified with: what they verify is then kept in that
// table, and forgotten when they go.
func (k *cache) find(removals uint64, presented string, at time.Duration) slot {
	t := k.tableOf(removals)
	if t == nil {
		return slot{}
	}
	s := slot{table: t, hash: maphash.String(k.seed, presented), now: seconds(at)}
	// The hash alone proves nothing: the whole token is compared.
	bucket := k.bucket(t, s.hash)
	for i := range bucket {
		if c := bucket[i].Load(); c != nil && c.hash == s.hash && c.presented == presented {
			s.verified = c.verified
			if c.used.Load() != s.now { // no word that all processors read is written on every check
				c.used.Store(s.now)
			}
			return s
		}
	}
	return s
}

func seconds(d time.Duration) int64 { return int64(d / time.Second) }

// tableOf returns the table of what was verified after so many removals. A greater number than
// that of the table in use empties the cache; for a lesser one there is no table any more: nil.
// While the next table is being made, nothing is found and nothing kept.
func (k *cache) tableOf(removals uint64) *table {
	t := k.table.Load()
	switch {
	case k.buckets == 0 || t.removals > removals:
		return nil
	case t.removals == removals:
		return t
	case !k.replacing.CompareAndSwap(false, true):
		return nil
	}
	defer k.replacing.Store(false)
	// Another may have made it between our look and the swap.
	if t = k.table.Load(); t.removals < removals {
		t = k.newTable(removals)
		k.table.Store(t)
	}
	if t.removals != removals {
		return nil
	}
	return t
}

func (k *cache) bucket(t *table, hash uint64) []atomic.Pointer[cached] {
	first := int(hash&uint64(k.buckets-1)) * bucketSize
	return t.slots[first : first+bucketSize]
}

// When all tokens are too big together, one that is kept has up to `dropped` others dropped. Each is
// the one that was used least lately of some, enough that not all of them are in use by chance; they
// are looked for in its own bucket and those behind it.
const (
	dropped  = 4
	looked   = 12 // tokens
	farthest = 16 // buckets
)

// keep puts a verified token into its bucket. When that is full, what was used least lately is dropped.
// When all tokens are too big together, others are dropped, so that old tokens never shut out new
// ones; if a few are not enough, this one is not kept.
func (k *cache) keep(s slot, presented string, v *verified) {
	if s.table == nil {
		return
	}
	c := &cached{presented: strings.Clone(presented), hash: s.hash, verified: v}
	c.size = c.weigh()
	c.used.Store(s.now - seconds(newcomer))
	for n := 0; n < dropped && s.table.bytes.Load()+c.size > k.budget; n++ {
		k.evict(s)
	}
	victim := k.victim(k.bucket(s.table, s.hash), c)
	s.table.replace(victim, victim.Load(), c, k.budget)
}

// replace puts c into a slot that holds old, unless the tokens would then be too big together.
func (t *table) replace(slot *atomic.Pointer[cached], old, c *cached, budget int64) {
	grown := c.size
	if old != nil {
		grown -= old.size
	}
	// Counted before it is put there, so that many who put at once stay within the budget; and taken
	// back when another was faster.
	if t.bytes.Add(grown) > budget && grown > 0 || !slot.CompareAndSwap(old, c) {
		t.bytes.Add(-grown)
	}
}

// evict drops the token that was used least lately of those that it looks at.
func (k *cache) evict(s slot) {
	var slot *atomic.Pointer[cached]
	var idlest *cached
	seen := 0
	for i := uint64(0); i < farthest && seen < looked; i++ {
		bucket := k.bucket(s.table, s.hash+i)
		for j := range bucket {
			c := bucket[j].Load()
			if c == nil {
				continue
			}
			if seen++; idlest == nil || c.used.Load() < idlest.used.Load() {
				slot, idlest = &bucket[j], c
			}
		}
	}
	// Whoever emptied or filled the slot meanwhile has counted its size.
	if idlest != nil && slot.CompareAndSwap(idlest, nil) {
		s.table.bytes.Add(-idlest.size)
	}
}

// victim is the slot to be written: the token's own, an empty one, or the one whose token was used
// least lately.
func (k *cache) victim(bucket []atomic.Pointer[cached], c *cached) *atomic.Pointer[cached] {
	var victim *atomic.Pointer[cached]
	var used int64
	for i := range bucket {
		old := bucket[i].Load()
		switch {
		case old == nil:
			if used != math.MinInt64 {
				victim, used = &bucket[i], math.MinInt64
			}
		// Another request kept the same token meanwhile: one copy is enough.
		case old.hash == c.hash && old.presented == c.presented:
			return &bucket[i]
		case victim == nil || old.used.Load() < used:
			victim, used = &bucket[i], old.used.Load()
		}
	}
	return victim
}

// weigh estimates the bytes that an entry takes: the token, its claims and facts once more, headers
// and answer.
func (c *cached) weigh() int64 {
	const fixed = 7 << 8 // measured: TestDistinctTokensTakeNoMoreThanTheCachesBytes
	size := fixed + 2*len(c.presented)
	if c.whole() {
		size += 2 * len(c.presented) // its text, and a tree of it
	}
	size += c.reserve
	for _, h := range c.identity.Set {
		// once more in the answer, and in the one that says how long what it opens may last
		size += 3 * (len(h.Name) + len(h.Value))
	}
	return int64(size)
}
