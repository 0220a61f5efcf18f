package revocation_test

import (
	"fmt"
	"testing"

	"github.com/sallyport/sallyport/internal/revocation"
)

// TestCVE holds published vulnerabilities of systems like this one against the set.
func TestCVE(t *testing.T) {
	for id, test := range map[string]func(*testing.T){
		"CVE-2026-18218": cutoffsOfEveryAgeAndOrder,        // a client's cutoff ignored when an older one of the realm existed
		"CVE-2020-26892": TestLayeredCutoffsTakeTheMaximum, // compared with the present, not with the time of issue
	} {
		t.Run(id, test)
	}
}

// cutoffsOfEveryAgeAndOrder: on user, client, tenant and issuer, each absent, older or newer than the token, and added in every
// order: a token is denied if any one of them is not older than it, and only then. Sessions of our own leave the user's to their sids.
func cutoffsOfEveryAgeAndOrder(t *testing.T) {
	kinds := []revocation.Kind{revocation.KindSub, revocation.KindClient, revocation.KindTenant, revocation.KindIss}
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
			for name, c := range map[string]struct {
				facts  revocation.Facts
				denied bool
			}{
				"ours":      {mine, ages[1] == newer || ages[2] == newer || ages[3] == newer},
				"another's": {foreign, ages[0] == newer || ages[1] == newer || ages[2] == newer || ages[3] == newer},
			} {
				cases++
				if got := s.Check(&c.facts).Revoked; got != c.denied {
					t.Fatalf("%s, cutoffs %s in order %v: denied %t", name, fmt.Sprint(ages), order, got)
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
