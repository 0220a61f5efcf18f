package keyset

import (
	"maps"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/sallyport/sallyport/internal/jose/signing"
	"github.com/sallyport/sallyport/internal/token"
)

// The set in force is, after any history: the last good answer's keys, less those that were revoked
// and not fetched since.
func TestSetInForceIsTheLastGoodOneLessWhatIsRevoked(t *testing.T) {
	pool := newKeys(t, 4)
	byID := map[string]*signing.PrivateKey{}
	for _, k := range pool {
		byID[k.ID()] = k
	}
	ids := slices.Sorted(maps.Keys(byID))
	folder := t.TempDir()
	runs := 0
	rapid.Check(t, func(rt *rapid.T) {
		runs++
		c, o := newClock(), &origin{}
		o.set(status(500))
		options := Options{
			Transport: o, Now: c.now,
			CacheDir: filepath.Join(folder, time.Duration(runs).String()),
		}
		open := func() *Sets {
			s, err := New([]Config{trust(issuerA)}, options)
			if err != nil {
				rt.Fatal(err)
			}
			return s
		}
		s := open()
		published := map[string]bool{} // nil: the issuer is down
		force := map[string]bool{}
		revoked := map[string]time.Time{}
		before := s.Removals()
		had := false
		shrunk := func() bool { return s.Removals() != before }
		rt.Repeat(map[string]func(*rapid.T){
			"": func(rt *rapid.T) {
				for _, id := range ids {
					key, why := s.Key(issuerA, id, "")
					if key != nil != force[id] {
						rt.Fatalf("key %s: expected in force %v, got %v", id, force[id], key != nil)
					}
					if key == nil && (why == token.ReasonNoKeys) == had {
						rt.Fatalf("key %s: expected keys to have been had %v, got %s", id, had, why)
					}
				}
			},
			"the issuer publishes": func(rt *rapid.T) {
				var keys []*signing.PrivateKey
				published = map[string]bool{}
				for _, id := range rapid.SliceOfNDistinct(rapid.SampledFrom(ids), 1, len(ids), rapid.ID).Draw(rt, "keys") {
					published[id] = true
					keys = append(keys, byID[id])
				}
				o.publish(t, keys...)
			},
			"the issuer fails": func(rt *rapid.T) {
				published = nil
				o.set(
					serve(
						rapid.SampledFrom([]string{
							"", "{}", `{"keys":[]}`, "<html>", `{"keys":[{"kty":"oct","k":"AAAA","kid":"x"}]}`,
						}).
							Draw(rt, "answer"),
					),
				)
			},
			"a fetch": func(rt *rapid.T) {
				before = s.Removals()
				good := len(published) > 0
				if err := s.Reload(t.Context()); (err == nil) != good {
					rt.Fatalf("expected success %v, got %v", good, err)
				}
				if !good {
					return
				}
				had = true
				lost := false
				for _, id := range ids {
					if until, ok := revoked[id]; ok && c.now().After(until) {
						delete(revoked, id)
					}
					_, out := revoked[id]
					lost = lost || force[id] && (out || !published[id])
					force[id] = published[id] && !out
				}
				if lost != shrunk() {
					rt.Fatalf("keys left: %v, counted: %v", lost, shrunk())
				}
			},
			"a key is revoked": func(rt *rapid.T) {
				id := rapid.SampledFrom(ids).Draw(rt, "kid")
				until := c.now().Add(time.Duration(rapid.IntRange(0, 90).Draw(rt, "minutes")) * time.Minute)
				before = s.Removals()
				s.RemoveKey(issuerA, id, until)
				if force[id] != shrunk() {
					rt.Fatalf("the key was in force: %v, counted: %v", force[id], shrunk())
				}
				force[id] = false
				if until.After(revoked[id]) {
					revoked[id] = until
				}
			},
			"time passes": func(rt *rapid.T) {
				c.advance(time.Duration(rapid.IntRange(0, 40).Draw(rt, "minutes")) * time.Minute)
			},
			"a restart": func(rt *rapid.T) {
				i := s.byName[issuerA]
				i.save()
				old := i.current.Load().confirmed
				s = open()
				if c.now().Sub(old) > defaultMaxAge {
					force, had = map[string]bool{}, false
				}
			},
		})
	})
}
