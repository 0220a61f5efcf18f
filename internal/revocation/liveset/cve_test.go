package liveset_test

import (
	"slices"
	"testing"

	"github.com/sallyport/sallyport/internal/revocation"
)

// TestCVE holds published vulnerabilities of systems like this one against the set.
func TestCVE(t *testing.T) {
	for id, test := range map[string]func(*testing.T){
		// a client's cutoff ignored when an older one of the realm existed
		"CVE-2026-18218": cutoffsOfEveryAgeAndOrder,
		// compared with the present, not with the time of issue
		"CVE-2020-26892": TestLayeredCutoffsTakeTheMaximum,
	} {
		t.Run(id, test)
	}
}

// cutoffsOfEveryAgeAndOrder: on user, client, tenant and issuer, each absent, older or newer than
// the token, and added in every order: a token is denied if any one of them is not older than it,
// and only then.
func cutoffsOfEveryAgeAndOrder(t *testing.T) {
	kinds := []revocation.Kind{
		revocation.KindSub,
		revocation.KindClient,
		revocation.KindTenant,
		revocation.KindIss,
	}
	values := []string{"sub", "client", "tenant", ""}
	const absent, older, newer = 0, 1, 2
	cases := 0
	for combination := range 81 {
		var ages [4]int
		for i, rest := 0, combination; i < len(ages); i, rest = i+1, rest/3 {
			ages[i] = rest % 3
		}
		for _, order := range permutations([]int{0, 1, 2, 3}) {
			s := newSet(1)
			for _, i := range order {
				if ages[i] == absent {
					continue
				}
				e := entry(kinds[i], values[i])
				e.IssuedBefore = (at - 1000) * 1000
				if ages[i] == newer {
					e.IssuedBefore = (at + 1000) * 1000
				}
				s.Add(e)
			}
			mine := ours()
			mine.AuthTime, mine.IssuedAt = at, at
			foreign := mine
			foreign.Ours = false
			denied := slices.Contains(ages[:], newer)
			for name, facts := range map[string]revocation.Facts{"ours": mine, "another's": foreign} {
				cases++
				if got := s.Check(&facts).Revoked; got != denied {
					t.Fatalf("%s, cutoffs %v in order %v: denied %t", name, ages, order, got)
				}
			}
		}
	}
	t.Logf("%d combinations of cutoffs, orders and tokens", cases)
}

func permutations(of []int) (all [][]int) {
	if len(of) <= 1 {
		return [][]int{of}
	}
	for i := range of {
		rest := append(append([]int(nil), of[:i]...), of[i+1:]...)
		for _, p := range permutations(rest) {
			all = append(all, append([]int{of[i]}, p...))
		}
	}
	return all
}
