package policy

import (
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/sallyport/sallyport/internal/token"
)

func TestALoginIsFreshForAsLongAsTheRouteSays(t *testing.T) {
	rule := compile(t, Route{
		Match: Match{Path: "/**"}, Require: Require{Fresh: 10 * time.Minute},
	}).Rules()[0]
	for name, row := range map[string]struct {
		login int64 // Unix seconds
		fresh bool
	}{
		"now":                          {noon.Unix(), true},
		"ten minutes ago":              {noon.Add(-10 * time.Minute).Unix(), true},
		"a second longer ago":          {noon.Add(-10*time.Minute - time.Second).Unix(), false},
		"never said":                   {0, false},
		"a negative time":              {-1, false},
		"ahead, as clocks may be":      {noon.Add(30 * time.Second).Unix(), true},
		"further ahead than clocks go": {noon.Add(31 * time.Second).Unix(), false},
		"in the year 9999":             {253402300799, false},
	} {
		c := &Caller{Claims: &token.Claims{AuthTime: row.login}, Skew: 30 * time.Second, Now: noon}
		want := token.ReasonLoginTooOld
		if row.fresh {
			want = ""
		}
		if got := rule.Permits(c).Reason; got != want {
			t.Errorf("%s: got %q, want %q", name, got, want)
		}
	}
}

// TestADemandIsJudgedInOneOrder: the reason is that of the first part that is not met.
func TestADemandIsJudgedInOneOrder(t *testing.T) {
	rule := compile(t, Route{Match: Match{Path: "/**"}, Require: Require{
		Issuers: []string{"i"}, Audiences: []string{"a", "b"}, Roles: []string{"r"},
		Scopes: []string{"s"}, ACR: []string{"gold", "silver"}, Fresh: time.Minute,
	}}).Rules()[0]
	c := &Caller{Claims: &token.Claims{}, Now: noon}
	for _, step := range []struct {
		want token.Reason
		meet func(*token.Claims)
	}{
		{token.ReasonPolicy, func(c *token.Claims) { c.Issuer = "i" }},
		{token.ReasonAudience, func(c *token.Claims) { c.Audience = []string{"x", "b"} }},
		{token.ReasonInsufficientRole, func(c *token.Claims) { c.Roles = []string{"r"} }},
		{token.ReasonInsufficientScope, func(c *token.Claims) { c.Scope = []string{"s"} }},
		{token.ReasonACR, func(c *token.Claims) { c.ACR = "silver" }},
		{token.ReasonLoginTooOld, func(c *token.Claims) { c.AuthTime = noon.Unix() }},
		{"", func(*token.Claims) {}},
	} {
		if got := rule.Permits(c).Reason; got != step.want {
			t.Errorf("got %q, want %q", got, step.want)
		}
		if step.want != "" && !slices.Contains(judged[:], step.want) {
			t.Errorf("%s has no place among the reasons of demands", step.want)
		}
		step.meet(c.Claims)
	}
}

// TestOfAlternativesTheNearestIsTold: what is told is the demand of the alternative that lacks least.
func TestOfAlternativesTheNearestIsTold(t *testing.T) {
	rule := compile(t, Route{Match: Match{Path: "/**"}, Require: Require{
		Scopes: []string{"base"},
		AnyOf: []Require{
			{Roles: []string{"admin"}}, {Roles: []string{"clerk"}, Scopes: []string{"orders"}},
			{Scopes: []string{"everything"}, Fresh: time.Minute},
		},
	}}).Rules()[0]
	for _, row := range []struct {
		roles, scopes string
		want          token.Reason
		demand        *Demand
	}{
		{"admin", "", token.ReasonInsufficientScope, &rule.Demand},
		{"admin", "base", "", nil},
		{"clerk", "base", token.ReasonInsufficientScope, rule.AnyOf[1]},
		{"clerk", "base orders", "", nil},
		{"", "base", token.ReasonInsufficientScope, rule.AnyOf[2]},
		{"", "base everything", token.ReasonLoginTooOld, rule.AnyOf[2]},
		{"", "base orders", token.ReasonInsufficientScope, rule.AnyOf[2]},
	} {
		got := rule.Permits(&Caller{
			Claims: &token.Claims{Roles: strings.Fields(row.roles), Scope: strings.Fields(row.scopes)},
			Now:    noon,
		})
		if got != (Lack{row.want, row.demand}) {
			t.Errorf("%+v: got %q of %+v", row, got.Reason, got.Demand)
		}
	}
}

// TestARemovedRuleLetsNobodyInWhomAnotherDoesNot: without a route, whoever passes now and did not
// before passes by another route, which had let nobody else in before either.
func TestARemovedRuleLetsNobodyInWhomAnotherDoesNot(t *testing.T) {
	everybody := callers()
	opened := 0
	rapid.Check(t, func(t *rapid.T) {
		c := drawConfigOf(t, drawAnyOf)
		if len(c.Routes) < 2 {
			return
		}
		gone := rapid.IntRange(0, len(c.Routes)-1).Draw(t, "gone")
		less := c
		less.Routes = slices.Delete(slices.Clone(c.Routes), gone, gone+1)
		before, err := Compile(c)
		if err != nil {
			t.Fatal(err)
		}
		after, err := Compile(less)
		if err != nil {
			t.Fatal(err)
		}
		forEachRequest(func(method, path string) {
			found, now := before.Find(method, "h", path), after.Find(method, "h", path)
			for _, who := range everybody {
				if who.passes(found.Rule) || !who.passes(now.Rule) {
					continue
				}
				opened++
				// The rule by which he passes is one of the others, as it was.
				same := now.Rule.Index
				if same >= gone {
					same++
				}
				if was := before.Rules()[same]; !who.passes(was) || !matches(c.Routes[same], method, path, false) {
					t.Fatalf("%+v passes %s %s by route %d, by which he did not", who, method, path, same)
				}
				// And nothing but the rule that is gone stood before it: in its own right, or as the
				// stricter one in another case.
				own := first(c, before, method, path, false)
				if (own == nil || own.Index != gone) &&
					(found.Stricter == nil || found.Stricter.Index != gone) {
					t.Fatalf("%+v passes %s %s without route %d, which did not decide", who, method, path, gone)
				}
			}
		})
	})
	if opened == 0 {
		t.Error("no rule that is gone let anybody in: nothing was tried")
	}
}

// TestConditionsOfTwoRoutesAreOneOnlyWhereTheySayTheSame of the same segments, and of nothing that
// another spelling of the request changes.
func TestConditionsOfTwoRoutesAreOneOnlyWhereTheySayTheSame(t *testing.T) {
	for name, row := range map[string]struct {
		strict, weak         string // paths
		strictWhen, weakWhen string
		refused              bool
	}{
		"the same": {"/a/{x}/**", "/**", "claims.a == 1", "claims.a == 1", true},
		"the same, of the same names": {
			"/a/{x}", "/*/{x}", "claims.a == path.x", "claims.a == path.x", false,
		},
		"the same, without names": {"/a/*", "/*/*", "claims.a == 1", "claims.a == 1", false},
		"another":                 {"/a/*", "/*/*", "claims.a == 1", "claims.a == 2", true},
		"none beside one":         {"/a/*", "/*/*", "claims.a == 1", "", true},
		"one beside none":         {"/a/*", "/*/*", "", "claims.a == 1", false},
		"of other segments": {
			"/a/{x}/{y}", "/*/{y}/{x}", "claims.a == path.x", "claims.a == path.x", true,
		},
		"of the path": {"/a/*", "/*/*", `request.path != "/a/b"`, `request.path != "/a/b"`, true},
	} {
		p := compile(t,
			Route{Match: Match{Path: row.strict}, Require: Require{When: row.strictWhen}},
			Route{Match: Match{Path: row.weak}, Require: Require{When: row.weakWhen}})
		path := "/A/b"
		if strings.Count(row.strict, "/") == 3 {
			path = "/A/b/c"
		}
		if f := p.Find("GET", "h", path); (f.Reason == token.ReasonPathCase) != row.refused {
			t.Errorf("%s: got route %d, %q", name, f.Rule.Index, f.Reason)
		}
	}
}

// TestConditionsAreCompiledOnceForPolicyAfterPolicy: those that stay are the same programs, those
// that go are forgotten.
func TestConditionsAreCompiledOnceForPolicyAfterPolicy(t *testing.T) {
	programs := func(text string) (all []any) {
		for range 2 {
			r := compile(t, Route{Match: Match{Path: "/a"}, Require: Require{When: text}}).Rules()[0]
			all = append(all, r.When)
		}
		return all
	}
	kept := programs("claims.kept == 1")
	if kept[0] != kept[1] {
		t.Error("a condition that stayed was compiled anew")
	}
	for range 2 {
		programs("claims.other == 1")
	}
	if again := programs("claims.kept == 1"); again[0] == kept[0] {
		t.Error("a condition that no policy has is still there")
	}
}
