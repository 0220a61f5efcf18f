package liveset_test

import (
	"sync/atomic"
	"testing"

	"pgregory.net/rapid"

	"github.com/sallyport/sallyport/internal/revocation"
	"github.com/sallyport/sallyport/internal/revocation/liveset"
)

// TestAnEntryThatRevokesATokenMovesAClassOfItsNames, whatever its kind, whether the set had an entry
// of that name or not; and an entry is found by whoever has read the number that it moved.
func TestAnEntryThatRevokesATokenMovesAClassOfItsNames(t *testing.T) {
	kinds := map[revocation.Kind]int{}
	rapid.Check(t, func(t *rapid.T) {
		versions := revocation.NewVersions(make([]atomic.Uint64, revocation.VersionWords))
		s := liveset.New(liveset.Config{
			ClockSkew: skew, Key: liveset.Key{K0: rapid.Uint64().Draw(t, "key")}, Shards: 1,
			Versions: versions,
		})
		f := ours()
		f.Ours = rapid.Bool().Draw(t, "ours")
		for _, name := range []*string{&f.TokenID, &f.SessionID, &f.Subject, &f.ClientID, &f.Tenant, &f.KeyID} {
			if rapid.IntRange(0, 3).Draw(t, "none") == 0 {
				*name = ""
			}
		}
		for range 20 {
			kind := rapid.SampledFrom(revocation.Kinds()).Draw(t, "kind")
			value := ""
			if kind != revocation.KindIss {
				value = rapid.SampledFrom([]string{"jti", "sid", "sub", "client", "tenant", "kid"}).Draw(t, "value")
			}
			e := entry(kind, value)
			if kind.Cutoff() {
				e.IssuedBefore = (at - int64(rapid.IntRange(0, 200).Draw(t, "cutoff"))) * 1000
			}
			classes := s.Classes(&f, nil)
			if len(classes) > revocation.MaxClasses {
				t.Fatalf("%d classes", len(classes))
			}
			var before []uint64
			for _, c := range classes {
				before = append(before, versions.Of(c))
			}
			was := s.Check(&f).Revoked
			s.Add(e)
			if was || !s.Check(&f).Revoked {
				continue
			}
			kinds[kind]++
			moved := false
			for i, c := range classes {
				moved = moved || versions.Of(c) != before[i]
			}
			if !moved {
				t.Fatalf("%s %q has revoked the token, and none of its numbers has moved", kind, value)
			}
		}
		if versions.All() != 0 {
			t.Error("an entry has moved what is of no class")
		}
	})
	if len(kinds) != len(revocation.Kinds()) {
		t.Errorf("only entries of %v have revoked", kinds)
	}
}
