package credential

import (
	"fmt"
	"testing"
)

// mixed makes the costs of a directory with so many users of each kind.
func mixed(kinds map[string]int) *costs {
	var encoded []string
	var hashes []hash
	for kind, n := range kinds {
		for i := range n {
			encoded = append(encoded, fmt.Sprint(kind, i))
			hashes = append(hashes, fakeHash{work: cost{algorithm: kind, settings: "1", memory: 1}})
		}
	}
	return newCosts(encoded, hashes, DefaultParams())
}

func kindOf(c *costs, name string) string { return c.decoy(name).cost().algorithm }

func TestUnknownNamesCostWhatUsersCostAsOften(t *testing.T) {
	c := mixed(map[string]int{"argon2id": 70, "bcrypt": 20, "scrypt": 10})
	seen := map[string]int{}
	for i := range 10_000 {
		seen[kindOf(c, fmt.Sprint("nobody", i))]++
	}
	for kind, want := range map[string]int{"argon2id": 7000, "bcrypt": 2000, "scrypt": 1000} {
		if got := seen[kind]; got < want-300 || got > want+300 {
			t.Errorf("%s: %d of 10000, want about %d", kind, got, want)
		}
	}
}

func TestAnUnknownNameCostsTheSameEachTimeAndInEachProcess(t *testing.T) {
	a, b := mixed(map[string]int{"argon2id": 50, "bcrypt": 50}), mixed(
		map[string]int{"argon2id": 50, "bcrypt": 50})
	for i := range 1000 {
		name := fmt.Sprint("nobody", i)
		if first := kindOf(a, name); kindOf(a, name) != first || kindOf(b, name) != first {
			t.Fatalf("%s costs one thing, then another", name)
		}
	}
}

func TestAUserMoreOrLessHardlyChangesWhatUnknownNamesCost(t *testing.T) {
	before, after := mixed(map[string]int{"argon2id": 50, "bcrypt": 50}), mixed(
		map[string]int{"argon2id": 53, "bcrypt": 50})
	if string(before.key) != string(after.key) {
		t.Fatal("one of the new users happens to have the least digest: take others")
	}
	changed := 0
	for i := range 10_000 {
		if name := fmt.Sprint("nobody", i); kindOf(before, name) != kindOf(after, name) {
			changed++
		}
	}
	if changed > 500 {
		t.Errorf("%d of 10000 names changed", changed)
	}
}

func TestWithoutUsersADecoyCostsWhatANewHashWould(t *testing.T) {
	c := newCosts(nil, nil, light)
	if got, want := c.decoy("anyone").cost(), (&argon2id{params: light}).cost(); got != want {
		t.Errorf("%+v, want %+v", got, want)
	}
}
