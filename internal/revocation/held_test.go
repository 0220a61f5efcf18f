package revocation

import (
	"fmt"
	"testing"

	"pgregory.net/rapid"
)

func item(n int) *Entry {
	return &Entry{
		Kind: KindSID, Issuer: "iss", Value: fmt.Sprint(n % 50), At: int64(n), Expires: int64(n),
	}
}

// TestHeldIsBounded (L3): what comes and goes leaves nothing behind.
func TestHeldIsBounded(t *testing.T) {
	var passing, expiring held
	for n := range 100_000 {
		passing.add(item(n))
		passing.drop(item(n))
		expiring.add(item(n))
		expiring.forget(int64(n)-1000, 4)
	}
	if n := len(passing.chunks); n > 2 || passing.live != 0 || len(passing.byName) != 0 {
		t.Errorf("%d chunks, %d live, %d names left of what was dropped", n, passing.live,
			len(passing.byName))
	}
	if n := len(expiring.chunks); n > 6 || expiring.live > 2000 {
		t.Errorf("%d chunks, %d live of 1000", n, expiring.live)
	}
}

// TestManyEntriesOfOneNameCostNoMoreThanOthers (L3): whoever logs out everywhere again and again
// makes them. Were all of them looked through for each, this test would not end.
func TestManyEntriesOfOneNameCostNoMoreThanOthers(t *testing.T) {
	const many = 300_000
	var h held
	e := Entry{Kind: KindSub, Issuer: "iss", Value: "alice", Expires: 1 << 41}
	for n := range many {
		e.At = int64(n)
		if h.get(&e) != nil {
			t.Fatal("found before it was added")
		}
		h.add(&e)
	}
	h = merged(h, held{})
	for n := range many {
		e.At = int64(n * 7919 % many) // in another order
		if h.get(&e) == nil {
			t.Fatalf("lost entry %d", e.At)
		}
		h.drop(&e)
	}
	if h.live != 0 || len(h.byName) != 0 || len(h.indexes) != 0 {
		t.Errorf("%d items, %d names, %d indexes are left", h.live, len(h.byName), len(h.indexes))
	}
}

// TestHeldAgainstAMap: through any run of additions, removals and mergers, it holds exactly what a
// map would, and finds it by name.
func TestHeldAgainstAMap(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var h, other held
		model := map[Entry]bool{}
		for range rapid.IntRange(1, 300).Draw(t, "steps") {
			n := rapid.IntRange(0, 2000).Draw(t, "n")
			e := item(n)
			e.Value = fmt.Sprint(n % 7) // names of many, too
			switch rapid.SampledFrom([]string{"add", "add", "drop", "merge", "forget"}).Draw(t, "step") {
			case "add":
				if h.get(e) == nil {
					h.add(e)
				}
				model[*e] = true
			case "drop":
				h.drop(e)
				delete(model, *e)
			case "merge":
				if other.get(e) == nil {
					other.add(e)
				}
				model[*e] = true
				h, other = merged(h, other), held{}
			case "forget":
				now := int64(rapid.IntRange(0, 500).Draw(t, "now"))
				h.forget(now, int(h.next-h.base)+1)
				for e := range model {
					if e.Expires <= now {
						delete(model, e)
					}
				}
			}
		}
		if h.live != len(model) {
			t.Fatalf("holds %d, want %d", h.live, len(model))
		}
		for e := range model {
			if h.get(&e) == nil {
				t.Fatalf("lost %+v", e)
			}
		}
		seen := 0
		c := h
		c.each(func(i *heldItem) bool {
			if !model[i.entry] {
				t.Fatalf("holds %+v", i.entry)
			}
			seen++
			return true
		})
		if seen != len(model) {
			t.Fatalf("lists %d, want %d", seen, len(model))
		}
	})
}
