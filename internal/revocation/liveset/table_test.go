package liveset

import (
	"encoding/binary"
	"encoding/hex"
	"math/bits"
	"runtime"
	"strconv"
	"testing"
	"unsafe"

	"github.com/sallyport/sallyport/internal/revocation"
)

// TestSipHash128 checks the first vectors of the reference code.
func TestSipHash128(t *testing.T) {
	var in []byte
	key := Key{0x0706050403020100, 0x0f0e0d0c0b0a0908}
	for n, want := range []string{
		"a3817f04ba25a8e66df67214c7550293", "da87c1d86b99af44347659119b22fc45",
		"8177228da4a45dc7fca38bdef60affe4",
	} {
		d := sipHash128(key, in)
		got := binary.LittleEndian.AppendUint64(binary.LittleEndian.AppendUint64(nil, d.lo), d.hi)
		if hex.EncodeToString(got) != want {
			t.Errorf("of %d bytes: %x, want %s", n, got, want)
		}
		in = append(in, byte(n))
	}
}

// TestDigestsKeepNamesApart: what is in the issuer and what in the value is not the same name.
func TestDigestsKeepNamesApart(t *testing.T) {
	k := Key{1, 2}
	base := digestOf(k, revocation.KindJTI, "ab", "c")
	for name, d := range map[string]digest{
		"value in the issuer": digestOf(k, revocation.KindJTI, "abc", ""),
		"issuer in the value": digestOf(k, revocation.KindJTI, "a", "bc"),
		"kind":                digestOf(k, revocation.KindSID, "ab", "c"),
		"key":                 digestOf(Key{1, 3}, revocation.KindJTI, "ab", "c"),
	} {
		if d == base {
			t.Errorf("%s makes no difference", name)
		}
	}
}

// TestNoExpiryIsTooLateForItsField: what an entry can hold and the field can not is the latest there
// is, and not long over.
func TestNoExpiryIsTooLateForItsField(t *testing.T) {
	const year = 365 * 24 * 3600 * 1000
	for _, at := range []int64{1 << 41, 1<<30*expiryUnit - 1, 1 << 30 * expiryUnit, revocation.MaxMillis - 1} {
		if got := expires(packExpiry(at, 7)); got < at-4*year {
			t.Errorf("an entry that expires at %d is over at %d", at, got)
		}
	}
}

// TestEntriesAreSmall: a million entries take at most 48 bytes each, all that the Set holds
// counted.
func TestEntriesAreSmall(t *testing.T) {
	s, n := filled(1_000_000)
	if each := bytesEach(s, n); each > 48 {
		t.Errorf("%.1f bytes an entry, want at most 48", each)
	} else {
		t.Logf("%.1f bytes an entry", each)
	}
}

func bytesEach(s *Set, n int) float64 {
	bytes := len(s.shards) * 8
	for i := range s.shards {
		if tab := s.shards[i].Load(); tab != nil {
			bytes += int(unsafe.Sizeof(*tab)) + 8*cap(tab.tags) + int(unsafe.Sizeof(slot{}))*cap(tab.slots)
		}
	}
	return float64(bytes) / float64(n)
}

// BenchmarkTenMillion: ten million entries take at most 40 bytes each, those that the heap rounds
// up to included; what it reports as ns/op is a look-up of a token that is not among them, or is,
// in memory that no cache holds.
func BenchmarkTenMillion(b *testing.B) {
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	s, n := filled(10_000_000)
	runtime.GC()
	runtime.ReadMemStats(&after)
	heap := float64(after.HeapAlloc-before.HeapAlloc) / float64(n)
	if each := bytesEach(s, n); each > 40 || heap > 40 {
		b.Errorf("%.1f bytes an entry, %.1f of the heap, want at most 40", each, heap)
	}
	b.Run("bytes", func(b *testing.B) {
		for b.Loop() {
			_ = s.Live(revocation.KindJTI)
		}
		b.ReportMetric(bytesEach(s, n), "B/entry")
		b.ReportMetric(heap, "heapB/entry")
	})
	b.Run("absent", func(b *testing.B) { lookUp(b, s, n, n) })
	b.Run("present", func(b *testing.B) { lookUp(b, s, n, 0) })
}

// BenchmarkCheck looks up tokens among a million that are revoked.
func BenchmarkCheck(b *testing.B) {
	s, n := filled(1_000_000)
	runtime.GC()
	b.Run("absent", func(b *testing.B) { lookUp(b, s, n, n) })
	b.Run("present", func(b *testing.B) { lookUp(b, s, n, 0) })
}

// lookUp looks up names of n from first on, in an order that no cache and no prefetching can
// follow. The token itself is at hand, as it is at a gate: only the Set's memory is cold.
func lookUp(b *testing.B, s *Set, n, first int) {
	name := make([]byte, 0, 20)
	f := revocation.Facts{Issuer: "https://issuer.example"}
	x := uint64(1)
	for b.Loop() {
		x = x*6364136223846793005 + 1442695040888963407
		high, _ := bits.Mul64(x, uint64(n))
		name = strconv.AppendInt(name[:0], int64(first)+int64(high), 10)
		f.TokenID = unsafe.String(&name[0], len(name))
		if s.Check(&f).Revoked == (first > 0) {
			b.Fatalf("%s: found or not found, and should be otherwise", name)
		}
	}
}

func filled(n int) (*Set, int) {
	s := New(Config{Key: Key{1, 2}})
	for i := range n {
		s.Add(
			&revocation.Entry{
				Kind:    revocation.KindJTI,
				Issuer:  "https://issuer.example",
				Value:   strconv.Itoa(i),
				Expires: 1 << 41,
			},
		)
	}
	return s, n
}

func BenchmarkAdd(b *testing.B) {
	s := New(Config{Key: Key{1, 2}})
	e := revocation.Entry{Kind: revocation.KindJTI, Issuer: "https://issuer.example", Expires: 1 << 41}
	for i := 0; b.Loop(); i++ {
		e.Value = strconv.Itoa(i)
		s.Add(&e)
	}
}
