package jose_test

import (
	"runtime"
	"strings"
	"testing"

	"github.com/sallyport/sallyport/internal/jose"
	"github.com/sallyport/sallyport/internal/jose/josetest"
	"github.com/sallyport/sallyport/internal/token"
)

// TestEveryAttackIsRefusedByItsReason: no hostile token is accepted, by keys of any kind, and each
// is refused for what it is.
func TestEveryAttackIsRefusedByItsReason(t *testing.T) {
	for _, alg := range []string{"ES256", "ES384", "ES512", "EdDSA", "RS256", "PS256"} {
		t.Run(alg, func(t *testing.T) {
			s := setup(alg)
			d := newDoor(s.Key)
			for _, group := range []struct {
				name    string
				attacks []josetest.Attack
			}{
				{
					"algorithm", s.AlgorithmAttacks(),
				}, {"header", s.HeaderAttacks()}, {"spelling", s.SpellingAttacks()},
				{
					"signature", s.SignatureAttacks(),
				}, {"claims_form", s.ClaimFormAttacks()}, {"claims", s.ClaimAttacks()},
			} {
				t.Run(group.name, func(t *testing.T) {
					for _, a := range group.attacks {
						t.Run(a.Name, func(t *testing.T) { d.mustRefuse(t, a.Token, a.Reason) })
					}
				})
			}
			d.mustAccept(t, s.Good())
		})
	}
}

// TestEveryAttackOnAForeignEntryIsRefused: an entry for another's issuer accepts nothing hostile
// either, with keys of any kind; what the RFCs allow it reads as what it says.
func TestEveryAttackOnAForeignEntryIsRefused(t *testing.T) {
	for _, alg := range []string{"ES256", "ES384", "ES512", "EdDSA", "RS256", "PS256"} {
		t.Run(alg, func(t *testing.T) {
			s := setup(alg)
			d := newForeignDoor(s.Key)
			want := marshalled(t, d.mustAccept(t, s.Good()))
			hostile, harmless := s.ForeignAttacks()
			for _, a := range hostile {
				t.Run(a.Name, func(t *testing.T) { d.mustRefuse(t, a.Token, a.Reason) })
			}
			for _, a := range harmless {
				t.Run(a.Name, func(t *testing.T) {
					got := d.mustAccept(t, a.Token)
					got.NotBefore = 0 // which some of them add
					if got := marshalled(t, got); got != want {
						t.Errorf("expected %s, got %s", want, got)
					}
				})
			}
			if len(hostile) < 400 || len(harmless) < 20 {
				t.Errorf("got %d hostile and %d harmless tokens", len(hostile), len(harmless))
			}
		})
	}
}

func marshalled(t *testing.T, c *token.Claims) string {
	t.Helper()
	text, err := c.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// TestATokenWithoutAKidNeedsTheOnlyKey: with several that fit its algorithm, nobody knows which is
// meant; those for other algorithms do not count.
func TestATokenWithoutAKidNeedsTheOnlyKey(t *testing.T) {
	s := setup("ES256")
	other, rsa := josetest.NewKey("ES256", ""), josetest.NewKey("RS256", "")
	compact := s.Key.Token(s.Key.Header("at+jwt").Without("kid").JSON(), s.Claims.JSON())
	thiefs := other.Token(s.Key.Header("at+jwt").Without("kid").JSON(), s.Claims.JSON())
	one := newForeignDoor(rsa, s.Key)
	one.mustAccept(t, compact)
	one.mustRefuse(t, thiefs, token.ReasonSignature)
	newForeignDoor(rsa, other, s.Key).mustRefuse(t, compact, token.ReasonKeyIDMissing)
	none := newForeignDoor(s.Key)
	none.keys = map[string]*jose.PublicKey{rsa.ID: rsa.Public()}
	none.mustRefuse(t, compact, token.ReasonKeyIDMissing)
	newDoor(s.Key).mustRefuse(t, compact, token.ReasonKeyIDMissing) // of ours, always
}

// TestAttacksAreAllThere guards the catalogue itself: a part of it that comes back empty would pass
// every other test.
func TestAttacksAreAllThere(t *testing.T) {
	s := setup("ES256")
	attacks := s.Attacks()
	seen := map[string]bool{}
	reasons := map[token.Reason]int{}
	for _, a := range attacks {
		if seen[a.Token] && !strings.HasPrefix(a.Name, "claims") {
			t.Logf("%s is the same token as another attack", a.Name)
		}
		seen[a.Token] = true
		reasons[a.Reason]++
		if !a.Reason.Known() {
			t.Errorf("%s expects the reason %q, which there is not", a.Name, a.Reason)
		}
	}
	if len(attacks) < 400 {
		t.Errorf("expected at least 400 attacks, got %d", len(attacks))
	}
	if len(reasons) < 25 {
		t.Errorf("expected attacks for at least 25 reasons, got %d", len(reasons))
	}
	t.Logf("%d attacks, %d reasons", len(attacks), len(reasons))
}

// TestTheTwinOfATokenIsTheSameToken: an ECDSA signature has a second form that is as good, so
// nothing that a revocation names may hang on it.
func TestTheTwinOfATokenIsTheSameToken(t *testing.T) {
	for _, alg := range []string{"ES256", "ES384", "ES512"} {
		s := setup(alg)
		d := newDoor(s.Key)
		good := s.Good()
		twin := josetest.Twin(s.Key, good)
		if good == twin {
			t.Fatal("the twin is the token itself")
		}
		a, b := d.mustAccept(t, good), d.mustAccept(t, twin)
		if a.ID != b.ID || a.SessionID != b.SessionID || a.Subject != b.Subject || a.ID == "" {
			t.Errorf("%s: the twin has other ids: %+v and %+v", alg, a, b)
		}
	}
}

// TestEscapedTwinOfATokenID: however the issuer spells an id, it is the same id to a revocation.
func TestEscapedTwinOfATokenID(t *testing.T) {
	s := setup("ES256")
	d := newDoor(s.Key)
	plain := d.mustAccept(t, s.Good())
	twin := d.mustAccept(
		t,
		s.Key.Token(s.Key.Header("at+jwt").JSON(),
			s.Claims.With("jti", `"\u0030\u0031\u0032\u0033456789abcdef"`).JSON()),
	)
	if plain.ID != twin.ID {
		t.Errorf("expected the same id, got %q and %q", plain.ID, twin.ID)
	}
}

// TestConfusableSubjectIsAnother: subjects are compared byte for byte and never folded.
func TestConfusableSubjectIsAnother(t *testing.T) {
	s := setup("ES256")
	d := newDoor(s.Key)
	for _, sub := range []string{"аlice", "Alice", "alice ", "ａlice", "alíce", "ali\u0301ce"} {
		got := d.mustAccept(t,
			s.Key.Token(s.Key.Header("at+jwt").JSON(), s.Claims.With("sub", josetest.Text(sub)).JSON()))
		if got.Subject != sub {
			t.Errorf("expected %q as it stands, got %q", sub, got.Subject)
		}
	}
}

// TestHeaderMayCarryThumbprints: x5t and x5t#S256 are ignored.
func TestHeaderMayCarryThumbprints(t *testing.T) {
	s := setup("ES256")
	d := newDoor(s.Key)
	d.mustAccept(
		t,
		s.Key.Token(s.Key.Header("at+jwt").And("x5t", `"abc"`).And("x5t#S256", `"def"`).JSON(),
			s.Claims.JSON()),
	)
}

// TestRefusalDoesNotCostInProportion: what is refused for its length or form takes the same memory
// at any length.
func TestRefusalDoesNotCostInProportion(t *testing.T) {
	d := newDoor()
	few := allocated(t, d, "..")
	for _, n := range []int{1000, 8000, 1_000_000} {
		if many := allocated(t, d, strings.Repeat(".", n)); many > few+512 {
			t.Errorf("%d dots took %d bytes, two took %d", n, many, few)
		}
	}
}

// allocated is how many bytes a refusal takes, on average.
func allocated(t *testing.T, d *door, compact string) uint64 {
	t.Helper()
	const rounds = 200
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	for range rounds {
		if _, err := d.judge(compact); err == nil {
			t.Fatal("accepted")
		}
	}
	runtime.ReadMemStats(&after)
	return (after.TotalAlloc - before.TotalAlloc) / rounds
}
