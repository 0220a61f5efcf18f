package authz

import (
	"hash/maphash"
	"math/bits"
	"strings"
	"sync/atomic"

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
		return config.At("entries", "expected 0 to %d, found %d", maxCacheEntries, c.Entries)
	case c.Bytes < 0:
		return config.At("bytes", "expected 0 or more, found %d", c.Bytes)
	}
	return nil
}

// ways is how many tokens share one place of the table; the one that expires first makes room.
const ways = 8

// cache remembers verified tokens. Readers and writers take no lock: each slot is one pointer to
// something immutable. A token is found by a keyed hash that no stranger can aim at, and then
// compared whole.
type cache struct {
	seed   maphash.Seed
	places int // a power of two; 0 keeps nothing
	budget int64
	table  atomic.Pointer[table]
	moving atomic.Bool // somebody is making the next table
}

// table holds what was verified under one generation of keys.
type table struct {
	generation uint64
	bytes      atomic.Int64
	slots      []atomic.Pointer[cached]
}

// cached is one token with what its signature said.
type cached struct {
	presented string // the whole token
	hash      uint64
	size      int64
	*verified
}

// slot is where a token is, or belongs.
type slot struct {
	table    *table // nil: nowhere
	hash     uint64
	verified *verified // nil: not there
}

func newCache(c CacheConfig) *cache {
	k := &cache{seed: maphash.MakeSeed(), budget: int64(c.Bytes)}
	if c.Entries > 0 {
		k.places = 1 << bits.Len(uint((c.Entries-1)/ways))
	}
	k.table.Store(k.newTable(0))
	return k
}

func (k *cache) newTable(generation uint64) *table {
	return &table{generation: generation, slots: make([]atomic.Pointer[cached], k.places*ways)}
}

// find looks a token up. The generation must have been read before the keys that a miss is verified
// with: what they verify is then kept under it, and forgotten when they go.
func (k *cache) find(generation uint64, presented string) slot {
	t := k.at(generation)
	if t == nil {
		return slot{}
	}
	s := slot{table: t, hash: maphash.String(k.seed, presented)}
	place := k.place(t, s.hash)
	for i := range place {
		if c := place[i].Load(); c != nil && c.hash == s.hash && c.presented == presented {
			s.verified = c.verified
			return s
		}
	}
	return s
}

// at gives the table of a generation. A newer one empties the cache; an older one has none any
// more. While the next table is being made, nothing is found and nothing kept.
func (k *cache) at(generation uint64) *table {
	t := k.table.Load()
	switch {
	case k.places == 0 || t.generation > generation:
		return nil
	case t.generation == generation:
		return t
	case !k.moving.CompareAndSwap(false, true):
		return nil
	}
	defer k.moving.Store(false)
	if t = k.table.Load(); t.generation < generation {
		t = k.newTable(generation)
		k.table.Store(t)
	}
	if t.generation != generation {
		return nil
	}
	return t
}

func (k *cache) place(t *table, hash uint64) []atomic.Pointer[cached] {
	first := int(hash&uint64(k.places-1)) * ways
	return t.slots[first : first+ways]
}

// neighbours is how many places give up what expires first when all tokens together are too big.
const neighbours = 4

// keep puts a verified token into its place. When that is full, what expires first is dropped. When
// all tokens are too big together, what expires first in this place and its neighbours together is
// dropped, so that old tokens never shut out new ones; if a few of those are not enough, this one
// is not kept.
func (k *cache) keep(s slot, presented string, v *verified) {
	if s.table == nil {
		return
	}
	c := &cached{presented: strings.Clone(presented), hash: s.hash, verified: v}
	c.size = c.weigh()
	for dropped := 0; dropped < neighbours && s.table.bytes.Load()+c.size > k.budget; dropped++ {
		k.evict(s)
	}
	victim := k.victim(k.place(s.table, s.hash), c)
	s.table.replace(victim, victim.Load(), c, k.budget)
}

// replace puts c into a slot that holds old, unless the tokens would then be too big together.
func (t *table) replace(slot *atomic.Pointer[cached], old, c *cached, budget int64) {
	grown := c.size
	if old != nil {
		grown -= old.size
	}
	if t.bytes.Add(grown) > budget && grown > 0 || !slot.CompareAndSwap(old, c) {
		t.bytes.Add(-grown)
	}
}

// evict drops the token that expires first in a place and its neighbours.
func (k *cache) evict(s slot) {
	var slot *atomic.Pointer[cached]
	var first *cached
	for i := uint64(0); i < neighbours; i++ {
		place := k.place(s.table, s.hash+i)
		for j := range place {
			if c := place[j].Load(); c != nil && (first == nil || c.claims.Expiry < first.claims.Expiry) {
				slot, first = &place[j], c
			}
		}
	}
	if first != nil && slot.CompareAndSwap(first, nil) {
		s.table.bytes.Add(-first.size)
	}
}

// victim is the slot to be written: the token's own, an empty one, or the one whose token expires
// first.
func (k *cache) victim(place []atomic.Pointer[cached], c *cached) *atomic.Pointer[cached] {
	var victim *atomic.Pointer[cached]
	var expiry int64
	for i := range place {
		old := place[i].Load()
		switch {
		case old == nil:
			if victim == nil || expiry != 0 {
				victim, expiry = &place[i], 0
			}
		case old.hash == c.hash && old.presented == c.presented:
			return &place[i]
		case victim == nil || old.claims.Expiry < expiry:
			victim, expiry = &place[i], old.claims.Expiry
		}
	}
	return victim
}

// weigh estimates the bytes that an entry takes: the token, its claims and facts once more, headers
// and answer.
func (c *cached) weigh() int64 {
	const fixed = 1 << 10
	size := fixed + 2*len(c.presented)
	for _, h := range c.identity.Set {
		size += 2 * (len(h.Name) + len(h.Value)) // once more in the answer
	}
	return int64(size)
}
