// Package condition compiles and evaluates the conditions of a policy: expressions in CEL
// (https://cel.dev) over a token's claims, the request, the calling service and the time.
//
// It promises:
//   - A condition that compiles is of type bool, and speaks of nothing that there is not: names of
//     variables, of a path's segments and of functions are checked when the policy is loaded.
//   - What it may cost is reckoned when it is loaded, and limited whenever it is evaluated. It has
//     no loop without an end, starts no goroutine, opens no file and asks nobody.
//   - It does not hold unless it says true: an error is an error, and so is a limit that was met.
package condition

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"sync"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/ast"
	"cel.dev/cel-go/common/cost"
	"cel.dev/cel-go/common/operators"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/interpreter"
)

const (
	maxText = 4 << 10 // bytes of one condition

	// Costs are in CEL's own unit, of which a comparison of two short strings is one. The reckoning
	// takes claims for longer than all of them together can be, so it may be far above what any token
	// costs: it is there to refuse loops within loops.
	maxReckoned = 1_000_000
	maxCost     = 20_000

	reckonedSize = 1_000 // elements of a list or map, characters of a text, whose size nobody knows
)

// Program is a compiled condition. It may be used from many goroutines.
type Program struct {
	text    string
	program cel.Program
	reads   map[string]bool     // the variables that it speaks of
	members map[string][]string // and of which of their members, by name
	whole   map[string]bool     // of which of them otherwise
}

// String is the condition as it is written.
func (p *Program) String() string { return p.text }

// Reads reports whether the condition speaks of a variable, as "claims" or "request.path".
func (p *Program) Reads(variable string) bool { return p.reads[variable] }

// Members returns the names under which the condition reads something in a variable, as claims, and
// whether it reads it in another way as well, so that any name may matter.
func (p *Program) Members(variable string) (names []string, all bool) {
	return p.members[variable], p.whole[variable]
}

// readMembers notes which members of variables a condition reads by their names: as claims.team,
// claims["team"], has(claims.team) and "team" in claims.
func (p *Program) readMembers(a *ast.AST) {
	p.members, p.whole = map[string][]string{}, map[string]bool{}
	variable := func(e ast.Expr) string {
		if r := a.ReferenceMap()[e.ID()]; r != nil && variables[r.Name] {
			return r.Name
		}
		return ""
	}
	named := map[int64]bool{} // expressions that stand for a variable of which a member is read
	note := func(of ast.Expr, name string) {
		if v := variable(of); v != "" {
			p.members[v] = append(p.members[v], name)
			named[of.ID()] = true
		}
	}
	ast.PreOrderVisit(a.Expr(), ast.NewExprVisitor(func(e ast.Expr) {
		switch e.Kind() {
		case ast.SelectKind:
			note(e.AsSelect().Operand(), e.AsSelect().FieldName())
		case ast.CallKind:
			args := e.AsCall().Args()
			switch name := e.AsCall().FunctionName(); {
			case (name == operators.Index || name == operators.OptIndex) && isText(args[1]):
				note(args[0], text(args[1]))
			case name == operators.In && isText(args[0]):
				note(args[1], text(args[0]))
			}
		}
	}))
	ast.PreOrderVisit(a.Expr(), ast.NewExprVisitor(func(e ast.Expr) {
		if v := variable(e); v != "" && !named[e.ID()] {
			p.whole[v] = true
		}
	}))
}

// Constant reports whether the condition speaks of nothing that a request could change.
func (p *Program) Constant() bool {
	for name := range p.reads {
		if variables[name] || strings.HasPrefix(name, segment) {
			return false
		}
	}
	return true
}

// Compile checks a condition and makes it ready. names are what segments of the route's path are
// called. Errors say where in the text it is wrong.
func Compile(text string, names []string) (*Program, error) {
	if len(text) > maxText {
		return nil, fmt.Errorf("expected at most %d bytes, got %d", maxText, len(text))
	}
	env, err := environment(names)
	if err != nil {
		return nil, err
	}
	checked, issues := env.Compile(text)
	if issues.Err() != nil {
		return nil, problems(issues)
	}
	if checked.OutputType() != cel.BoolType {
		return nil, fmt.Errorf("expected a condition, which is true or false, got one of type %s:"+
			" compare it, as with == true", checked.OutputType())
	}
	p := &Program{text: text, reads: map[string]bool{}}
	for _, r := range checked.NativeRep().ReferenceMap() {
		p.reads[r.Name] = true
	}
	p.readMembers(checked.NativeRep())
	if err := judge(checked.NativeRep()); err != nil {
		return nil, err
	}
	cost, err := env.EstimateCost(checked, sizes{})
	if err != nil {
		return nil, err
	}
	if cost.Max > maxReckoned {
		return nil, fmt.Errorf("expected a cost of at most %d, got up to %d for long claims: loops within"+
			" loops (all, exists, map, filter) cost the product of their lists", maxReckoned, cost.Max)
	}
	p.program, err = env.Program(checked, cel.EvalOptions(cel.OptOptimize), cel.CostLimit(maxCost))
	return p, err
}

// problems are CEL's own words, each with its place.
func problems(issues *cel.Issues) error {
	var errs []error
	for _, e := range issues.Errors() {
		errs = append(errs, at(e.Location.Line(), e.Location.Column(), "%s", e.Message))
	}
	return errors.Join(errs...)
}

// at is an error at a place in the text. column counts from 0.
func at(line, column int, format string, args ...any) error {
	place := fmt.Sprintf("at %d:%d of the condition: ", line, column+1)
	return fmt.Errorf(place+format, args...)
}

// The variables that a condition may speak of, besides the segments of the path.
const (
	claims  = "claims"          // what the token says, as its issuer wrote it
	roles   = "roles"           // with the issuer's prefix, and with those that they bring along
	scopes  = "scopes"          // the token's scopes
	method  = "request.method"  // as it is
	host    = "request.host"    // in small letters, without port
	path    = "request.path"    // the part before `?`, percent-decoded once
	headers = "request.headers" // by name in small letters; lines of one name are joined by commas
	peer    = "peer.principal"  // whose certificate the connection had, "" without one
	now     = "now"             // by the gate's clock
	segment = "path."           // and a name
)

var variables = map[string]bool{
	claims: true, roles: true, scopes: true, method: true, host: true, path: true, headers: true,
	peer: true, now: true,
}

var base = sync.OnceValues(func() (*cel.Env, error) {
	return cel.NewEnv(
		cel.Variable(claims, cel.MapType(cel.StringType, cel.DynType)),
		cel.Variable(roles, cel.ListType(cel.StringType)),
		cel.Variable(scopes, cel.ListType(cel.StringType)),
		cel.Variable(method, cel.StringType), cel.Variable(host, cel.StringType),
		cel.Variable(path, cel.StringType),
		cel.Variable(headers, cel.MapType(cel.StringType, cel.StringType)),
		cel.Variable(peer, cel.StringType), cel.Variable(now, cel.TimestampType),
	)
})

// environments are those for the segments' names that were seen last: a policy has few.
var environments = struct {
	sync.Mutex
	byNames map[string]*cel.Env
}{byNames: map[string]*cel.Env{}}

const maxEnvironments = 64

// environment returns what a condition may speak of on a route whose segments have these names.
func environment(names []string) (*cel.Env, error) {
	env, err := base()
	if err != nil || len(names) == 0 {
		return env, err
	}
	var variables []cel.EnvOption
	for _, name := range names {
		if name != "" {
			variables = append(variables, cel.Variable(segment+name, cel.StringType))
		}
	}
	environments.Lock()
	defer environments.Unlock()
	key := strings.Join(names, "/")
	known := environments.byNames[key]
	if known == nil {
		if known, err = env.Extend(variables...); err != nil {
			return nil, err
		}
		if len(environments.byNames) == maxEnvironments {
			clear(environments.byNames)
		}
		environments.byNames[key] = known
	}
	return known, nil
}

// judge refuses what CEL permits and a gate should not do while a request waits.
func judge(a *ast.AST) error {
	var errs []error
	refuse := func(e ast.Expr, format string, args ...any) {
		place := a.SourceInfo().GetStartLocation(e.ID())
		errs = append(errs, at(place.Line(), place.Column(), format, args...))
	}
	ast.PostOrderVisit(a.Expr(), ast.NewExprVisitor(func(e ast.Expr) {
		if e.Kind() != ast.CallKind {
			return
		}
		call := e.AsCall()
		args := call.Args()
		switch name := call.FunctionName(); {
		// A pattern is compiled once, when the policy is loaded.
		case name == "matches" && !isText(args[len(args)-1]):
			refuse(e, "expected a pattern in quotes, got one that is made at each request")
		// A zone by its name is looked up in files.
		case clockParts[name] && len(args) == 1 && !isOffset(args[0]):
			refuse(e, "expected the time zone as an offset in quotes, as \"+02:00\"")
		case name == operators.Index && a.ReferenceMap()[args[0].ID()] != nil &&
			a.ReferenceMap()[args[0].ID()].Name == headers && isText(args[1]):
			if header := text(args[1]); header != strings.ToLower(header) {
				refuse(e, "names of headers are in small letters: write %q", strings.ToLower(header))
			}
		}
	}))
	return errors.Join(errs...)
}

var clockParts = map[string]bool{
	"getFullYear": true, "getMonth": true, "getDate": true, "getDayOfMonth": true,
	"getDayOfWeek": true, "getDayOfYear": true, "getHours": true, "getMinutes": true,
	"getSeconds": true, "getMilliseconds": true,
}

func isText(e ast.Expr) bool {
	return e.Kind() == ast.LiteralKind && e.AsLiteral().Type() == types.StringType
}

func text(e ast.Expr) string {
	s, _ := e.AsLiteral().Value().(string) // whoever asks has asked isText
	return s
}

// isOffset reports whether a zone is written as hours and minutes from UTC, of which there are no
// more than CEL takes when it evaluates them.
func isOffset(e ast.Expr) bool { return isText(e) && offset.MatchString(text(e)) }

var offset = regexp.MustCompile(`^[+-]?([01][0-9]|2[0-3]):[0-5][0-9]$`)

// sizes reckons with one size for all that is not known before a request.
type sizes struct{}

// EstimateSize has no size for what is three levels below a value of any type, which the estimator
// asks about, level by level, whether an expression looks there or not.
func (sizes) EstimateSize(node cost.AstNode) *cost.SizeEstimate {
	if path := node.Path(); node.Expr() == nil && len(path) > maxProbed &&
		!slices.ContainsFunc(path[len(path)-maxProbed-1:], isNamed) {
		return nil
	}
	return &cost.SizeEstimate{Min: 0, Max: reckonedSize}
}

const maxProbed = 2

// isNamed reports whether a step of a path is a name, and not one for any item, key or value.
func isNamed(step string) bool { return !strings.HasPrefix(step, "@") }

func (sizes) EstimateCallCost(string, string, *cost.AstNode,
	[]cost.AstNode) *cost.CallEstimate {
	return nil
}

// The two ways in which a condition that was compiled may come to no answer.
var (
	// ErrCost: it would have cost more than a request may.
	ErrCost = errors.New("condition: it costs more than it may")
	// ErrValue: it cannot be evaluated, as where a claim is not there that it reads. What CEL says of
	// it may repeat a part of the token, and is not told.
	ErrValue = errors.New("condition: it cannot be evaluated, as where a claim that it reads is absent")
)

// Holds evaluates the condition.
func (p *Program) Holds(in *Input) (bool, error) {
	result, _, err := p.program.Eval(in)
	var cancelled interpreter.EvalCancelledError
	switch {
	case errors.As(err, &cancelled):
		return false, ErrCost
	case err != nil:
		return false, ErrValue
	}
	holds, ok := result.Value().(bool)
	if !ok {
		return false, ErrValue
	}
	return holds, nil
}
