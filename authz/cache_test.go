package authz

import (
	"fmt"
	"testing"
	"time"

	"github.com/sallyport/sallyport/internal/token"
)

// fill keeps a token after so many removals.
func fill(k *cache, removals uint64, presented string) { fillAt(k, removals, presented, 0) }

func fillAt(k *cache, removals uint64, presented string, at time.Duration) {
	v := &verified{claims: &token.Claims{Subject: presented}, identity: &Identity{}}
	k.keep(k.find(removals, presented, at), presented, v)
}

// found looks a token up, and so uses it.
func found(k *cache, removals uint64, presented string) bool {
	return foundAt(k, removals, presented, 0)
}

func foundAt(k *cache, removals uint64, presented string, at time.Duration) bool {
	v := k.find(removals, presented, at).verified
	return v != nil && v.claims.Subject == presented
}

func TestAKeptTokenIsFoundAndNoOther(t *testing.T) {
	k := newCache(CacheConfig{Entries: 1024, Bytes: 10 << 20})
	for i := range 200 {
		fill(k, 0, fmt.Sprint("token-", i))
	}
	for i := range 200 {
		if !found(k, 0, fmt.Sprint("token-", i)) {
			t.Errorf("token-%d is gone", i)
		}
		if k.find(0, fmt.Sprint("other-", i), 0).verified != nil {
			t.Errorf("other-%d was never kept", i)
		}
	}
}

// TestEqualHashesAreNotEqualTokens: the whole token is compared.
func TestEqualHashesAreNotEqualTokens(t *testing.T) {
	k := newCache(CacheConfig{Entries: 8, Bytes: 1 << 20})
	s := k.find(0, "a", 0)
	k.keep(s, "a", &verified{claims: &token.Claims{Subject: "a"}, identity: &Identity{}})
	c := k.bucket(s.table, s.hash)[0].Load()
	forged := &cached{presented: c.presented, hash: k.find(0, "b", 0).hash, verified: c.verified}
	k.bucket(s.table, forged.hash)[1].Store(forged)
	if v := k.find(0, "b", 0).verified; v != nil {
		t.Errorf("found %q for another token with its hash", v.claims.Subject)
	}
}

func TestARemovalEmptiesTheCache(t *testing.T) {
	k := newCache(CacheConfig{Entries: 64, Bytes: 1 << 20})
	fill(k, 0, "a")
	before := k.find(0, "late", 0)
	if found(k, 1, "a") {
		t.Error("kept over a change of keys")
	}
	fill(k, 1, "a")
	if !found(k, 1, "a") {
		t.Error("not kept after a change of keys")
	}
	k.keep(before, "late", &verified{claims: &token.Claims{Subject: "late"}, identity: &Identity{}})
	if found(k, 1, "late") {
		t.Error("what older keys verified is found under newer ones")
	}
	if found(k, 0, "a") || k.find(0, "a", 0).table != nil {
		t.Error("an older table came back")
	}
	if !found(k, 1, "a") {
		t.Error("a reader of an older table emptied the cache")
	}
}

func TestTheTokenUsedLeastLatelyMakesRoom(t *testing.T) {
	k := newCache(CacheConfig{Entries: bucketSize, Bytes: 1 << 20})
	for i := range bucketSize {
		fillAt(k, 0, fmt.Sprint(i), 0)
	}
	for i := range bucketSize {
		used := time.Duration(bucketSize-i) * time.Minute // the last one least lately
		if !foundAt(k, 0, fmt.Sprint(i), used) {
			t.Fatalf("token %d is gone", i)
		}
	}
	const later = time.Hour
	fillAt(k, 0, "new", later)
	for i := range bucketSize {
		if want := i != bucketSize-1; foundAt(k, 0, fmt.Sprint(i), later) != want {
			t.Errorf("token %d: found %v", i, !want)
		}
	}
	if !foundAt(k, 0, "new", later) {
		t.Error("the new one was not kept")
	}
}

// TestTokensThatArePresentedOnceTakeNobodysPlace: whether there are too many of them or they are too
// big together.
func TestTokensThatArePresentedOnceTakeNobodysPlace(t *testing.T) {
	for name, c := range map[string]CacheConfig{
		"entries": {Entries: 1 << 10, Bytes: 64 << 20},
		"bytes":   {Entries: 1 << 12, Bytes: 2 << 20},
	} {
		t.Run(name, func(t *testing.T) {
			k := newCache(c)
			const users = 64 // of some thousand that there is room for
			for i := range users {
				fill(k, 0, fmt.Sprint("user-", i))
			}
			now := time.Second
			for second := range 20 {
				now += time.Second
				for i := range users {
					if !foundAt(k, 0, fmt.Sprint("user-", i), now) {
						t.Fatalf("user %d's token is gone after %d seconds", i, second)
					}
				}
				for i := range 1000 {
					fillAt(k, 0, fmt.Sprint("once-", second, "-", i), now)
				}
			}
			// Those who have left make room.
			now += newcomer + time.Second
			for i := range 20_000 {
				fillAt(k, 0, fmt.Sprint("later-", i), now)
			}
			for i := range users {
				if foundAt(k, 0, fmt.Sprint("user-", i), now) {
					t.Errorf("user %d's token was kept before those of others, though not used for long", i)
				}
			}
		})
	}
}

func TestTheCacheStaysWithinItsBounds(t *testing.T) {
	const budget = 100 << 10
	k := newCache(CacheConfig{Entries: 1 << 12, Bytes: budget})
	for i := range 5000 {
		fill(k, 0, fmt.Sprintf("%0*d", 10+i%2000, i))
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

// TestOldTokensDoNotShutOutNewOnes: with its bytes used up, the cache still takes new ones.
func TestOldTokensDoNotShutOutNewOnes(t *testing.T) {
	c := CacheConfig{Entries: 1 << 12, Bytes: 1 << 20} // room for about a quarter of the entries
	k := newCache(c)
	for i := range 1 << 12 {
		fill(k, 0, fmt.Sprint("old-", i))
	}
	const late = 200
	for i := range late {
		fillAt(k, 0, fmt.Sprint("new-", i), time.Second)
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
	fill(k, 0, "a")
	once := k.table.Load().bytes.Load()
	fill(k, 0, "a")
	if got := k.table.Load().bytes.Load(); got != once {
		t.Errorf("got %d bytes, want %d", got, once)
	}
}

func TestACacheOfNothingKeepsNothing(t *testing.T) {
	k := newCache(CacheConfig{})
	fill(k, 0, "a")
	if found(k, 0, "a") {
		t.Error("found")
	}
}
