package condition

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"cel.dev/cel-go/common/cost"
	"cel.dev/cel-go/common/types"

	"github.com/sallyport/sallyport/internal/token/strict"
)

func parse(t testing.TB, json string) strict.Value {
	t.Helper()
	v, err := strict.Parse(json, strict.Rules{MaxDepth: 16})
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// asked is a request of alice's for an order of her tenant, through the checkout service.
func asked(t testing.TB) *Input {
	return &Input{
		Claims: parse(t, `{"sub":"alice","tenant":"acme","email":"alice@example.com","level":3,
			"weight":1.5,"huge":1e400,"vip":true,"nothing":null,"groups":["a","b"],
			"address":{"country":"CH"},"auth_time":1893586000}`),
		Roles:  func() []string { return []string{"clerk", "viewer"} },
		Scopes: []string{"orders:read"}, Method: "GET", Host: "shop.example.com",
		Path: "/tenants/acme/orders/7",
		Segment: func(name string) (string, bool) {
			return map[string]string{"tenant": "acme", "id": "7"}[name], true
		},
		Headers: func(yield func(string, string) bool) {
			_ = yield("X-Region", "eu") && yield("x-many", "a") && yield("x-many", "b")
		},
		Peer: "spiffe://example.com/checkout",
		Now:  time.Date(2030, 1, 2, 12, 30, 0, 0, time.UTC), // a Wednesday
	}
}

var names = []string{"", "tenant", "", "id"}

func TestConditionsHold(t *testing.T) {
	for text, want := range map[string]string{
		`claims.tenant == path.tenant`:                         "true",
		`claims.tenant == path.id`:                             "false",
		`claims.level >= 3 && claims.weight < 2.0`:             "true",
		`claims.level == 3.0`:                                  "true",
		`claims.huge > 1e300`:                                  "true",
		`claims.vip == true`:                                   "true",
		`claims.nothing == null`:                               "true",
		`has(claims.vip) && !has(claims.other)`:                "true",
		`"b" in claims.groups`:                                 "true",
		`claims.groups.exists(g, g.startsWith("c"))`:           "false",
		`claims.address.country in ["CH", "LI"]`:               "true",
		`claims["address"]["country"] == "CH"`:                 "true",
		`"viewer" in roles && "orders:read" in scopes`:         "true",
		`request.method == "GET"`:                              "true",
		`request.host == "shop.example.com"`:                   "true",
		`request.path.endsWith("/7")`:                          "true",
		`request.headers["x-region"] == "eu"`:                  "true",
		`request.headers["x-many"] == "a,b"`:                   "true",
		`"x-none" in request.headers`:                          "false",
		`peer.principal == "spiffe://example.com/checkout"`:    "true",
		`now < timestamp("2031-01-01T00:00:00Z")`:              "true",
		`now - timestamp(claims.auth_time) < duration("1h")`:   "true",
		`now.getDayOfWeek() in [1, 2, 3, 4, 5]`:                "true",
		`now.getHours("+02:00") == 14`:                         "true",
		`now.getHours("02:00") == 14`:                          "true",
		`now.getMinutes("-00:30") == now.getMinutes("+00:30")`: "true",
		`now.getHours("+23:00") == 11`:                         "true",
		`claims.email.matches("^[a-z]+@example[.]com$")`:       "true",
		// What is not there, or of another type, is no answer.
		`claims.other == "x"`:                  "error",
		`claims.tenant > 1`:                    "error",
		`claims.tenant.size() > claims.level2`: "error",
		`request.headers["x-none"] == ""`:      "error",
		`int(claims.email) == 1`:               "error",
		`claims.groups[5] == "a"`:              "error",
		`1 / (claims.level - 3) == 1`:          "error",
	} {
		p, err := Compile(text, names)
		if err != nil {
			t.Errorf("%s: %v", text, err)
			continue
		}
		for range 2 { // nothing is left of the first time
			holds, err := p.Holds(asked(t))
			got := fmt.Sprint(holds)
			if err != nil {
				if got = "error"; err != ErrValue || holds {
					t.Errorf("%s: %v, %v", text, holds, err)
				}
			}
			if got != want {
				t.Errorf("%s: got %s, want %s (%v)", text, got, want, err)
			}
		}
	}
}

func TestMistakesInConditionsAreToldWithTheirPlace(t *testing.T) {
	loop := `claims.a.all(x, x in claims.a)`
	loops := `claims.a.all(w, claims.b.all(x, claims.c.all(y, claims.d.all(z, w == x && y == z))))`
	for text, want := range map[string]string{
		`claim.tenant == "x"`:                     "at 1:6 of the condition: undeclared reference to 'claim.tenant'",
		"claims.a == 1 &&\n  path.tenat == \"x\"": "at 2:7 of the condition: undeclared reference to 'path.tenat' (did you mean 'path.tenant'?)",
		`request.query == ""`:                     "at 1:1 of the condition: undeclared",
		`claims.a ==`:                             "at 1:12 of the condition: Syntax error",
		`request.method == 1`:                     "at 1:16 of the condition: found no matching overload",
		`claims.vip`:                              "of type dyn: compare it",
		`"yes"`:                                   "of type string",
		`size(roles)`:                             "of type int",
		`roles.contains("x")`:                     "no matching overload",
		`fetch("https://example.com") == ""`:      "undeclared reference to 'fetch'",
		`claims.a.matches(claims.b)`:              "at 1:17 of the condition: expected a pattern in quotes",
		`claims.a.matches("a" + "b")`:             "expected a pattern in quotes",
		`claims.a.matches("(")`:                   "missing closing )",
		`now.getHours("Europe/Zurich") < 18`:      "expected the time zone as an offset",
		`now.getHours(claims.zone) < 18`:          "expected the time zone as an offset",
		`now.getHours("+99:99") < 18`:             "expected the time zone as an offset",
		`now.getHours("+24:00") < 18`:             "expected the time zone as an offset",
		`now.getHours("+02:60") < 18`:             "expected the time zone as an offset",
		`now.getHours("+-02:00") < 18`:            "expected the time zone as an offset",
		`now.getHours("+2:000") < 18`:             "expected the time zone as an offset",
		`now.getHours("++2:00") < 18`:             "expected the time zone as an offset",
		`now.getHours("02:0:") < 18`:              "expected the time zone as an offset",
		`now < timestamp("2031-13-01T00:00:00Z")`: "2031-13-01",
		`now - now < duration("1 hour")`:          "type conversion error",
		`request.headers["X-Region"] == "eu"`:     `write "x-region"`,
		loop:                                      "loops within loops",
		loops:                                     "loops within loops",
		`true || ` + strings.Repeat(" ", maxText): "at most 4096 bytes",
		``:                                "Syntax error",
		strings.Repeat("(", 400) + `true`: "of the condition",
	} {
		p, err := Compile(text, names)
		if err == nil {
			t.Errorf("%.60s: accepted as %v", text, p)
			continue
		}
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%.60s: got %v, want %s", text, err, want)
		}
	}
}

// TestWhatCostsTooMuchDoesNotHold, however it is written: the claims of one token are the longest
// that a token may have.
func TestWhatCostsTooMuchDoesNotHold(t *testing.T) {
	in := asked(t)
	in.Claims = parse(t, `{"a":["`+strings.Repeat(`x","`, 2000)+`x"],"long":"`+strings.Repeat("x", 8000)+`"}`)
	for text, want := range map[string]error{
		`claims.a.all(x, x == "x")`:                           nil,
		`claims.a.exists(x, x == "y") || claims.long == "x"`:  nil,
		`claims.a.map(x, x + claims.long).size() > 0`:         ErrCost,
		`claims.a.exists(x, claims.long.matches("(x+x+)+y"))`: ErrCost,
	} {
		p, err := Compile(text, nil)
		if err != nil {
			t.Errorf("%s: %v", text, err)
			continue
		}
		holds, err := p.Holds(in)
		if !errors.Is(err, want) || holds && want != nil {
			t.Errorf("%s: got %v, %v, want %v", text, holds, err, want)
		}
	}
}

func TestAConditionIsForManyAtOnce(t *testing.T) {
	p, err := Compile(`claims.tenant == path.tenant && claims.groups.exists(g, g == "b")`, names)
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 8)
	for i := range cap(done) {
		in := asked(t)
		if i%2 == 1 {
			in.Claims = parse(t, `{"tenant":"other","groups":[]}`)
		}
		go func() {
			for range 500 {
				if holds, err := p.Holds(in); err != nil || holds != (i%2 == 0) {
					done <- fmt.Errorf("caller %d: got %v, %v", i, holds, err)
					return
				}
			}
			done <- nil
		}()
	}
	for range cap(done) {
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
}

// FuzzCondition: no text makes the compiler panic, and what compiles comes to an answer.
func FuzzCondition(f *testing.F) {
	f.Add(`claims.tenant == path.tenant`, `{"tenant":"acme"}`)
	f.Add(`claims.a.all(x, x in claims.a) && now > timestamp(0)`, `{"a":[1,"x",null,{"b":[]}]}`)
	f.Add(`claims.a.b.c[0] == -1.5e3 || "x".matches("[")`, `{"a":{"b":{"c":[1e999]}}}`)
	f.Add(`request.headers["x"] + string(now) == peer.principal`, `{}`)
	f.Fuzz(func(t *testing.T, text, json string) {
		p, err := Compile(text, names)
		if err != nil {
			return
		}
		in := asked(t)
		if in.Claims, err = strict.Parse(json, strict.Rules{MaxDepth: 16}); err != nil {
			return
		}
		if holds, err := p.Holds(in); holds && err != nil {
			t.Errorf("%s: holds with %v", text, err)
		}
	})
}

func BenchmarkHolds(b *testing.B) {
	for name, text := range map[string]string{
		"tenant":   `claims.tenant == path.tenant`,
		"no claim": `request.method == "GET" && peer.principal.startsWith("spiffe://")`,
	} {
		b.Run(name, func(b *testing.B) {
			p, err := Compile(text, names)
			if err != nil {
				b.Fatal(err)
			}
			in := asked(b)
			b.ReportAllocs()
			for b.Loop() {
				if holds, err := p.Holds(in); !holds || err != nil {
					b.Fatal(holds, err)
				}
			}
		})
	}
}

// BenchmarkHoldsAtTheLimit is what the dearest condition costs before it is cut off.
func BenchmarkHoldsAtTheLimit(b *testing.B) {
	in := asked(b)
	in.Claims = parse(b, `{"a":["`+strings.Repeat(`x","`, 2000)+`x"]}`)
	p, err := Compile(`claims.a.map(x, x + "y").exists(x, x.startsWith("z"))`, nil)
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		if _, err := p.Holds(in); err != ErrCost {
			b.Fatal(err)
		}
	}
}

// TestConditionsSpeakOfTheDocumentedVariables: docs/policy.md has a line for each, and there is no
// other, of types that hold nothing else.
func TestConditionsSpeakOfTheDocumentedVariables(t *testing.T) {
	page, err := os.ReadFile("../../../docs/policy.md")
	if err != nil {
		t.Fatal(err)
	}
	env, err := base()
	if err != nil {
		t.Fatal(err)
	}
	lines := 0
	for _, v := range env.Variables() {
		switch v.Type().Kind() {
		case types.TypeKind: // the names of CEL's types: int, string ...
			continue
		case types.StringKind, types.ListKind, types.MapKind, types.TimestampKind:
		default:
			t.Errorf("%s has the type %s", v.Name(), v.Type())
		}
		if lines++; !strings.Contains(string(page), "\n| `"+v.Name()+"` |") {
			t.Errorf("docs/policy.md has no line for %s", v.Name())
		}
	}
	if lines != 9 {
		t.Errorf("got %d variables", lines)
	}
}

// everything reckons with one size for whatever it is asked about.
type everything struct{ sizes }

func (everything) EstimateSize(cost.AstNode) *cost.SizeEstimate {
	return &cost.SizeEstimate{Min: 0, Max: reckonedSize}
}

// TestNothingCostsLessByWhatIsNotReckonedWith: the sizes, level by level, of what is deep within a
// claim, which the estimator asks for and no condition looks at.
func TestNothingCostsLessByWhatIsNotReckonedWith(t *testing.T) {
	for _, text := range []string{
		`claims.tenant == path.tenant && claims.level >= 3`,
		`claims.a.b.c[0] == "x"`, `claims.a["b"]["c"].d in roles`,
		`claims.a.all(x, x == "b")`, `claims.a.exists(x, x.b == "c" && x.d.size() > 1)`,
		`claims.a.map(x, x + claims.b).size() > 0`, `claims.a.filter(x, x in claims.b).size() == 1`,
		`claims.a.all(x, x.b.all(y, y == "c"))`, `claims.a.all(x, x.all(y, y.all(z, z == "c")))`,
		`claims.a.all(x, x in claims.a)`, `claims.a == claims.b`, `claims == {"a": claims.b}`,
		`roles.exists(r, r.startsWith("x"))`, `request.headers.all(h, request.headers[h] != claims.a)`,
		`claims.a.matches("^a+$") ? claims.b : claims.c == path.tenant`,
		`[claims.a, claims.b].exists(l, l.exists(x, x == 1))`, `string(claims.a) + claims.b == claims.c`,
	} {
		env, err := environment(names)
		if err != nil {
			t.Fatal(err)
		}
		checked, issues := env.Compile(text)
		if issues.Err() != nil {
			t.Errorf("%s: %v", text, issues.Err())
			continue
		}
		whole, err := env.EstimateCost(checked, everything{})
		part, err2 := env.EstimateCost(checked, sizes{})
		if err != nil || err2 != nil || part.Max != whole.Max {
			t.Errorf("%s: costs up to %d (%v), and up to %d by all that could be asked (%v)", text,
				part.Max, err2, whole.Max, err)
		}
	}
}

// TestLinesOfAHeaderArePutTogetherOnce: each would else cost as much as all before it.
func TestLinesOfAHeaderArePutTogetherOnce(t *testing.T) {
	const lines = 1000
	in := &Input{Headers: func(yield func(string, string) bool) {
		for range lines {
			if !yield("x-many", "a") {
				return
			}
		}
	}}
	if n := testing.AllocsPerRun(3, func() {
		if got := in.headers()["x-many"]; len(got) != 2*lines-1 {
			t.Fatalf("got %d bytes", len(got))
		}
	}); n > lines/10 {
		t.Errorf("%d lines are put together in %v pieces of memory", lines, n)
	}
}
