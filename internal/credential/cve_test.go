package credential

import (
	"context"
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"
)

// The rows of advisories that concern logins and passwords.
func TestCVE(t *testing.T) {
	for id, test := range map[string]func(*testing.T){
		"CVE-2025-54999": unknownUsersCostWhatKnownOnesDo,
		"CVE-2026-88010": equalLoginsAreNotMadeOne,
		"CVE-2025-24806": spellingsShareOneCount,
		"CVE-2024-21662": floodingOtherNamesKeepsTheVictimsCount,
		"CVE-2022-39229": nobodyLocksTheOwnerOut,
		"CVE-2026-9798":  flowsShareOneCount,
		"CVE-2013-1443":  longPasswordsAreRefusedBeforeHashing,
		"CVE-2025-22228": bcryptPasswordsAreReadInFull,
		"CVE-2024-29892": usersSetNoReservedClaims,
		"CVE-2016-7036":  secretsAreComparedInConstantTime,
	} {
		t.Run(id, test)
	}
}

// Known, unknown and disabled names: one hash of equal cost, the same error; throttled: none for
// any.
func unknownUsersCostWhatKnownOnesDo(t *testing.T) {
	f := newUsersFile(t, "users:\n"+user("alice", "")+user("dora", "    disabled: true\n"))
	s := f.open()
	var texts []string
	for _, name := range []string{"alice", "nobody", "dora"} {
		before := hashesOf(s)
		_, err := s.Verify(context.Background(), name, "wrong", ip("192.0.2.1"))
		if !errors.Is(err, ErrInvalid) || hashesOf(s)-before != 1 {
			t.Errorf("%s: %v, %v hashes", name, err, hashesOf(s)-before)
		}
		texts = append(texts, err.Error())
	}
	if texts[0] != texts[1] || texts[1] != texts[2] {
		t.Errorf("texts differ: %q", texts)
	}
	got := s.users.current.Load().costs.decoy("nobody").cost()
	if got != (cost{algorithm: "bcrypt", settings: "05", memory: 8 << 10}) {
		t.Errorf("an unknown name costs %+v", got)
	}
}

func hashesOf(s *Store) int { return int(testutil.ToFloat64(s.metrics.hashes)) }

// 20 equal logins at the same moment cost 20 hashes, for a known name and an unknown one.
func equalLoginsAreNotMadeOne(t *testing.T) {
	for _, name := range []string{"alice", "nobody"} {
		s, n, _ := newFake(t, wide(),
			Hashing{Concurrency: 20, MemoryMiB: 64, Queue: 64, Wait: time.Minute})
		n.hold = make(chan struct{})
		var wg sync.WaitGroup
		for range 20 {
			wg.Go(func() { try(s, name, "wonderland", "192.0.2.1") })
		}
		for range 20 {
			n.hold <- struct{}{}
		}
		wg.Wait()
		if hashes, _ := n.take(); hashes != 20 {
			t.Errorf("%s: %d hashes", name, hashes)
		}
	}
}

func spellingsShareOneCount(t *testing.T) {
	l := wide()
	l.NameFailures = Rate{Burst: 6, Every: time.Hour}
	l.NetworkFailures = Rate{Burst: 6, Every: time.Hour}
	s, _, _ := newFake(t, l, Hashing{})
	for _, spelled := range []string{"alice", "ALICE", " alice", "aLiCe\t", "ａｌｉｃｅ", "\u00a0Alice"} {
		expect(t, s, spelled, "wrong", "192.0.2.1", "invalid")
	}
	expect(t, s, "alice", "wonderland", "192.0.2.1", "throttled by name")
	expect(t, s, "ALICE", "wonderland", "192.0.2.2", "throttled by name")
	// nobody's name, all the same
	for _, spelled := range []string{
		"jos\u00e9", "jose\u0301", "JOSE\u0301", "Jos\u00e9", "JOS\u00c9", "jose\u0301 ",
	} {
		expect(t, s, spelled, "wrong", "192.0.2.1", "invalid")
	}
	expect(t, s, "jos\u00e9", "wrong", "192.0.2.1", "throttled by name")
}

// A million failing names (fewer under the race detector), then the victim's next guess: still
// throttled, in the same memory.
func floodingOtherNamesKeepsTheVictimsCount(t *testing.T) {
	s, _, _ := newFake(t, Limits{}, Hashing{})
	th := s.throttle
	for range DefaultLimits().PairFailures.Burst {
		expect(t, s, "alice", "wrong", "192.0.2.1", "invalid")
	}
	landed := 0
	for i := range flood {
		from := netip.AddrFrom16([16]byte{0x20, 1, 0xd, 0xb8, byte(i >> 16), byte(i >> 8), byte(i)})
		a, refused := th.begin("flood"+strconv.Itoa(i), from)
		if refused != nil {
			continue
		}
		a.fail()
		a.end()
		landed++
	}
	if landed < flood/5 {
		t.Errorf("only %d failures of the flood were counted", landed)
	}
	expect(t, s, "alice", "wonderland", "192.0.2.1", "throttled by pair")
	for _, k := range []*limit{th.attempts, th.address, th.pair, th.name, th.network} {
		if len(k.under) != 0 {
			t.Errorf("%s: %d keys kept", k.by, len(k.under))
		}
	}
}

// Failures from elsewhere never lock the owner out. That two users with one name are refused at
// load is TestEachUsersFixtureIsRefusedInItsOwnWords.
func nobodyLocksTheOwnerOut(t *testing.T) {
	s, _, _ := newFake(t, DefaultLimits(), Hashing{})
	expect(t, s, "alice", "wonderland", "198.51.100.7", "ok")
	for i := range 200 {
		try(s, "alice", "wrong", fmt.Sprintf("%d.%d.1.1", 1+i%99, i))
	}
	expect(t, s, "alice", "wonderland", "198.51.100.7", "ok")
	for _, file := range []string{
		"same_name_in_other_case", "same_name_full_width", "same_name_decomposed",
	} {
		if _, err := Open(usersConfig("testdata/bad/"+file+".yaml"), Options{}); err == nil ||
			!strings.Contains(err.Error(), "is the same one") {
			t.Errorf("%s: %v", file, err)
		}
	}
}

// Nothing tells the flows apart: there is one way to check a password, and one count behind it.
func flowsShareOneCount(t *testing.T) {
	l := wide()
	l.PairFailures = Rate{Burst: 2, Every: time.Hour}
	s, _, _ := newFake(t, l, Hashing{})
	type key string
	for i, want := range []string{"invalid", "invalid", "throttled", "throttled"} {
		ctx := context.WithValue(context.Background(), key("flow"), i) // whatever the caller is
		_, err := s.Verify(ctx, "alice", "wrong", ip("192.0.2.1"))
		if got := map[bool]string{true: "throttled", false: "invalid"}[isThrottled(err)]; got != want {
			t.Errorf("flow %d: %v", i, err)
		}
	}
}

func longPasswordsAreRefusedBeforeHashing(t *testing.T) {
	s, n, _ := newFake(t, Limits{}, Hashing{})
	for _, size := range []int{1025, 64 << 10, 1 << 20} {
		expect(t, s, "alice", strings.Repeat("a", size), "192.0.2.1", "too long")
	}
	if hashes, _ := n.take(); hashes != 0 {
		t.Errorf("%d hashes", hashes)
	}
	_, err := s.Verify(t.Context(), "alice", strings.Repeat("a", 1025), ip("192.0.2.1"))
	if !errors.Is(err, ErrInvalid) || !errors.Is(err, ErrTooLong) {
		t.Errorf("got %v", err)
	}
}

// crypt_blowfish's own vector for a password beyond 72 bytes: the rest does not count for bcrypt,
// so it must for us.
func bcryptPasswordsAreReadInFull(t *testing.T) {
	const long = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789chars " +
		"after 72 are ignored"
	h, err := parseHash("$2a$05$abcdefghijklmnopqrstuu5s2v8.iXieOjg/.AySBTTZIIVFJeBui")
	if err != nil {
		t.Fatal(err)
	}
	for password, want := range map[string]bool{
		long[:72]: true, long[:73]: false, long: false, long[:72] + "x": false, long[:71]: false,
		long[:72] + "\x00": false, "": false,
	} {
		if got := h.matches(prepare(password)); got != want {
			t.Errorf("%d bytes: %v", len(password), got)
		}
	}
	short, err := parseHash(uuHash)
	if err != nil {
		t.Fatal(err)
	}
	for password, want := range map[string]bool{
		"U*U": true, "U*U\x00": false, "U*U\x00x": false, "U*U\x00U*U": false,
	} {
		if got := short.matches(prepare(password)); got != want {
			t.Errorf("%q: %v", password, got)
		}
	}
	made, err := Hash([]byte("a new password"), light)
	if err != nil || !strings.HasPrefix(made, "$argon2id$") {
		t.Errorf("a new hash is %.12s, %v", made, err)
	}
}

// A user's record has no place for claims: every key beyond its own is refused at load.
func usersSetNoReservedClaims(t *testing.T) {
	_, err := Open(usersConfig("testdata/bad/reserved_claims.yaml"), Options{})
	for _, claim := range []string{
		"iss", "sub", "aud", "exp", "jti", "sid", "client_id", "auth_time",
	} {
		if err == nil || !strings.Contains(err.Error(), "users[0]."+claim+": unknown key") {
			t.Errorf("%s: %v", claim, err)
		}
	}
}

// Where bytes are compared in this package, subtle does it.
func secretsAreComparedInConstantTime(t *testing.T) {
	files, err := os.ReadDir(".")
	if err != nil {
		t.Fatal(err)
	}
	set := token.NewFileSet()
	compared := 0
	for _, f := range files {
		if !strings.HasSuffix(f.Name(), ".go") || strings.HasSuffix(f.Name(), "_test.go") {
			continue
		}
		parsed, err := parser.ParseFile(set, f.Name(), nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(parsed, func(n ast.Node) bool {
			s, ok := n.(*ast.SelectorExpr)
			if !ok {
				return true
			}
			switch x, _ := s.X.(*ast.Ident); {
			case x == nil:
			case x.Name == "bytes" && (s.Sel.Name == "Equal" || s.Sel.Name == "Compare"),
				x.Name == "reflect",
				x.Name == "slices" && s.Sel.Name == "Equal":
				t.Errorf("%v: %s.%s", set.Position(s.Pos()), x.Name, s.Sel.Name)
			case x.Name == "subtle" && s.Sel.Name == "ConstantTimeCompare",
				s.Sel.Name == "MatchBytesAdvanced":
				compared++
			}
			return true
		})
	}
	// argon2id's, and that of what other systems derive; the library compares the others, by subtle
	// too
	if compared != 2 {
		t.Errorf("%d comparisons by subtle, want 2: this test no longer sees them", compared)
	}
}
