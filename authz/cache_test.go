package authz

import (
	"fmt"
	"testing"

	"github.com/sallyport/sallyport/internal/token"
)

// fill keeps a token with that expiry after so many removals.
func fill(k *cache, removals uint64, presented string, expiry int64) {
	v := &verified{claims: &token.Claims{Subject: presented, Expiry: expiry}, identity: &Identity{}}
	k.keep(k.find(removals, presented), presented, v)
}

func found(k *cache, removals uint64, presented string) bool {
	v := k.find(removals, presented).verified
	return v != nil && v.claims.Subject == presented
}

func TestAKeptTokenIsFoundAndNoOther(t *testing.T) {
	k := newCache(CacheConfig{Entries: 1024, Bytes: 10 << 20})
	for i := range 200 {
		fill(k, 0, fmt.Sprint("token-", i), 100)
	}
	for i := range 200 {
		if !found(k, 0, fmt.Sprint("token-", i)) {
			t.Errorf("token-%d is gone", i)
		}
		if k.find(0, fmt.Sprint("other-", i)).verified != nil {
			t.Errorf("other-%d was never kept", i)
		}
	}
}

// TestEqualHashesAreNotEqualTokens: the whole token is compared.
func TestEqualHashesAreNotEqualTokens(t *testing.T) {
	k := newCache(CacheConfig{Entries: 8, Bytes: 1 << 20})
	s := k.find(0, "a")
	k.keep(s, "a", &verified{claims: &token.Claims{Subject: "a"}, identity: &Identity{}})
	c := k.bucket(s.table, s.hash)[0].Load()
	forged := *c
	forged.hash = k.find(0, "b").hash
	k.bucket(s.table, forged.hash)[1].Store(&forged)
	if v := k.find(0, "b").verified; v != nil {
		t.Errorf("found %q for another token with its hash", v.claims.Subject)
	}
}

func TestARemovalEmptiesTheCache(t *testing.T) {
	k := newCache(CacheConfig{Entries: 64, Bytes: 1 << 20})
	fill(k, 0, "a", 100)
	before := k.find(0, "late")
	if found(k, 1, "a") {
		t.Error("kept over a change of keys")
	}
	fill(k, 1, "a", 100)
	if !found(k, 1, "a") {
		t.Error("not kept after a change of keys")
	}
	k.keep(before, "late", &verified{claims: &token.Claims{Subject: "late"}, identity: &Identity{}})
	if found(k, 1, "late") {
		t.Error("what older keys verified is found under newer ones")
	}
	if found(k, 0, "a") || k.find(0, "a").table != nil {
		t.Error("an older table came back")
	}
	if !found(k, 1, "a") {
		t.Error("a reader of an older table emptied the cache")
	}
}

func TestTheFirstToExpireMakesRoom(t *testing.T) {
	k := newCache(CacheConfig{Entries: bucketSize, Bytes: 1 << 20})
	for i := range bucketSize {
		fill(k, 0, fmt.Sprint(i), int64(100+i))
	}
	fill(k, 0, "new", 500)
	for i := range bucketSize {
		if want := i != 0; found(k, 0, fmt.Sprint(i)) != want {
			t.Errorf("token %d: found %v", i, !want)
		}
	}
	if !found(k, 0, "new") {
		t.Error("the new one was not kept")
	}
}

func TestTheCacheStaysWithinItsBounds(t *testing.T) {
	const budget = 100 << 10
	k := newCache(CacheConfig{Entries: 1 << 12, Bytes: budget})
	for i := range 5000 {
		fill(k, 0, fmt.Sprintf("%0*d", 10+i%2000, i), int64(i+1))
	}
	t1 := k.table.Load()
	var entries int
	var bytes int64
	for i := range t1.slots {
		if c := t1.slots[i].Load(); c != nil {
			entries++
			bytes += c.size
		}
	}
	if bytes != t1.bytes.Load() || bytes > budget || entries == 0 {
		t.Errorf("%d entries with %d bytes, counted %d, budget %d", entries, bytes,
			t1.bytes.Load(), budget)
	}
	if got := len(t1.slots); got != 1<<12 {
		t.Errorf("got %d slots", got)
	}
}

// TestOldTokensDoNotShutOutNewOnes: with its bytes used up by tokens that expire sooner, the cache
// still takes new ones.
func TestOldTokensDoNotShutOutNewOnes(t *testing.T) {
	c := CacheConfig{Entries: 1 << 12, Bytes: 1 << 20} // room for about a quarter of the entries
	k := newCache(c)
	for i := range 1 << 12 {
		fill(k, 0, fmt.Sprint("old-", i), 3600)
	}
	const late = 200
	for i := range late {
		fill(k, 0, fmt.Sprint("new-", i), 7200)
	}
	kept := 0
	for i := range late {
		if found(k, 0, fmt.Sprint("new-", i)) {
			kept++
		}
	}
	if kept < late*9/10 {
		t.Errorf("%d of %d new tokens were kept", kept, late)
	}
	if bytes := k.table.Load().bytes.Load(); bytes > int64(c.Bytes) {
		t.Errorf("%d bytes are kept, more than %d", bytes, c.Bytes)
	}
}

func TestKeepingATokenTwiceTakesOnePlace(t *testing.T) {
	k := newCache(CacheConfig{Entries: 8, Bytes: 1 << 20})
	fill(k, 0, "a", 1)
	once := k.table.Load().bytes.Load()
	fill(k, 0, "a", 2)
	if got := k.table.Load().bytes.Load(); got != once {
		t.Errorf("got %d bytes, want %d", got, once)
	}
}

func TestACacheOfNothingKeepsNothing(t *testing.T) {
	k := newCache(CacheConfig{})
	fill(k, 0, "a", 1)
	if found(k, 0, "a") {
		t.Error("found")
	}
}
