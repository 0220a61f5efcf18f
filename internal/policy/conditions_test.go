package policy

import (
	"fmt"
	"testing"

	"github.com/sallyport/sallyport/internal/policy/condition"
)

// TestAConditionThatStaysIsCompiledOnce, in every one of several policies; and what is asked for no
// more is forgotten.
func TestAConditionThatStaysIsCompiledOnce(t *testing.T) {
	with := func(texts ...string) (c Config) {
		for i, text := range texts {
			c.Routes = append(c.Routes, Route{
				Match: Match{Path: fmt.Sprintf("/%d/{id}", i)}, Require: Require{When: text},
			})
		}
		return c
	}
	load := func(changed string) (all []*condition.Program) {
		t.Helper()
		p, named, err := CompileAll(with(`claims.a == path.id`, changed), map[string]Config{
			"one": with(`claims.b == path.id`), "two": with(`claims.c == path.id`),
		})
		if err != nil {
			t.Fatal(err)
		}
		for _, one := range []*Policy{p, named["one"], named["two"]} {
			for _, rule := range one.Rules() {
				all = append(all, rule.When)
			}
		}
		return all
	}
	first := load(`claims.d == "1"`)
	for round := range 3 {
		again := load(fmt.Sprintf(`claims.d == "%d"`, 2+round))
		for i, program := range again {
			if changed := i == 1; (program == first[i]) == changed {
				t.Errorf("round %d: %s is compiled anew: %v", round, program, !changed)
			}
		}
	}
	conditions.mu.Lock()
	defer conditions.mu.Unlock()
	if n := len(conditions.now) + len(conditions.before); n != len(first) {
		t.Errorf("%d conditions are kept, of %d in force", n, len(first))
	}
}

// TestConditionsThatAreWrongAreToldOfWhereTheyStand, though all are compiled at once.
func TestConditionsThatAreWrongAreToldOfWhereTheyStand(t *testing.T) {
	c := Config{}
	for i := range 100 {
		text := fmt.Sprintf("claims.a == %d", i)
		if i%10 == 3 {
			text = fmt.Sprintf("claims.a ==%d&", i)
		}
		c.Routes = append(c.Routes, Route{
			Match: Match{Path: fmt.Sprintf("/%d", i)}, Require: Require{When: text},
		})
	}
	c.Prepare()
	for i, r := range c.Routes {
		if err := r.Validate(); (err != nil) != (i%10 == 3) {
			t.Errorf("routes[%d]: %v", i, err)
		}
	}
}
