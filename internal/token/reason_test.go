package token_test

import (
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	gotoken "go/token"
	"regexp"
	"strconv"
	"testing"

	"github.com/sallyport/sallyport/internal/token"
)

// declaredReasons reads reason.go: each constant's value, and whether it has a doc comment.
func declaredReasons(t *testing.T) map[token.Reason]bool {
	t.Helper()
	file, err := parser.ParseFile(gotoken.NewFileSet(), "reason.go", nil, parser.ParseComments)
	if err != nil {
		t.Fatal(err)
	}
	declared := map[token.Reason]bool{}
	for _, decl := range file.Decls {
		group, ok := decl.(*ast.GenDecl)
		if !ok || group.Tok != gotoken.CONST {
			continue
		}
		for _, spec := range group.Specs {
			value := spec.(*ast.ValueSpec)
			text, err := strconv.Unquote(value.Values[0].(*ast.BasicLit).Value)
			if err != nil {
				t.Fatal(err)
			}
			declared[token.Reason(text)] = value.Doc != nil
		}
	}
	return declared
}

// TestEveryReasonIsDescribed: each has a comment, a status, a meaning and a remedy, once, and there
// is none without a constant.
func TestEveryReasonIsDescribed(t *testing.T) {
	declared := declaredReasons(t)
	if len(declared) < 50 {
		t.Fatalf("found only %d reasons in the source", len(declared))
	}
	name, sentence := regexp.MustCompile(`^[a-z][a-z0-9]*(_[a-z]+)*$`), regexp.MustCompile(
		"^[A-Z`].*\\.$",
	)
	seen := map[token.Reason]bool{}
	for _, d := range token.Reasons() {
		if seen[d.Reason] {
			t.Errorf("%s is described twice", d.Reason)
		}
		seen[d.Reason] = true
		if commented, ok := declared[d.Reason]; !ok || !commented {
			t.Errorf("%s has no constant with a comment", d.Reason)
		}
		if !name.MatchString(string(d.Reason)) || len(d.Reason) > 32 {
			t.Errorf("%q is no short name in snake case", d.Reason)
		}
		if d.Status != 400 && d.Status != 401 && d.Status != 403 && d.Status != 503 {
			t.Errorf("%s has the status %d", d.Reason, d.Status)
		}
		if !sentence.MatchString(d.Meaning) || !sentence.MatchString(d.Remedy) {
			t.Errorf("%s: expected a sentence each, got %q and %q", d.Reason, d.Meaning, d.Remedy)
		}
		if got, ok := d.Reason.Describe(); !ok || got != d {
			t.Errorf("%s describes itself as %+v", d.Reason, got)
		}
	}
	for r := range declared {
		if !seen[r] {
			t.Errorf("%s is not described", r)
		}
	}
}

func TestReasonsListIsTheCallersOwn(t *testing.T) {
	token.Reasons()[0].Reason = "changed"
	if token.Reasons()[0].Reason == "changed" {
		t.Error("the list can be changed from outside")
	}
}

// TestAnErrorWithoutAReasonIsOurFailure: never an empty label, never an allowed request.
func TestAnErrorWithoutAReasonIsOurFailure(t *testing.T) {
	var none *token.Error
	for err, want := range map[error]token.Reason{
		errors.New("x"):                   token.ReasonInternal,
		&token.Error{}:                    token.ReasonInternal,
		none:                              token.ReasonInternal,
		token.Refuse(token.ReasonAlg, ""): token.ReasonAlg,
		fmt.Errorf("wrapped: %w", token.Refuse(token.ReasonAudience, "expected %q", "a")): token.ReasonAudience,
	} {
		if got := token.ReasonOf(err); got != want {
			t.Errorf("%v: expected %s, got %s", err, want, got)
		}
	}
	if got := token.ReasonOf(nil); got != "" {
		t.Errorf("no error has the reason %s", got)
	}
	if got := token.Refuse(token.ReasonAudience, "expected %q", "a").
		Error(); got != `token: audience: expected "a"` {
		t.Errorf("got %q", got)
	}
	if token.Reason("no_such").Known() {
		t.Error("a reason that there is not is known")
	}
}
