package main

import (
	"bytes"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

const root = "../.."

// parsed returns the syntax of Go files.
func parsed(t *testing.T, pattern string) (files []*ast.File) {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(root, pattern))
	if err != nil || len(names) == 0 {
		t.Fatalf("%s: %d files, %v", pattern, len(names), err)
	}
	for _, name := range names {
		f, err := parser.ParseFile(token.NewFileSet(), name, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, f)
	}
	return files
}

// TestTheTableHasEveryBug: each of the fifty-four, in order, each form once and with something to
// catch it.
func TestTheTableHasEveryBug(t *testing.T) {
	seen, last := map[string]bool{}, 0
	for _, r := range table {
		n, err := strconv.Atoi(number(r.bug))
		if err != nil || n != last && n != last+1 {
			t.Errorf("%s comes after %d", r.bug, last)
		}
		last = n
		if seen[r.bug] || r.what == "" || len(r.catchers) == 0 || len(r.edits) == 0 {
			t.Errorf("%s: twice, without words, an edit or a catcher", r.bug)
		}
		seen[r.bug] = true
	}
	if last != 56 {
		t.Errorf("the last bug is %d, expected 56", last)
	}
}

// TestEveryCatcherIsATest: a name that no test has would run none.
func TestEveryCatcherIsATest(t *testing.T) {
	for _, c := range catchers(table) {
		name, found := strings.Split(c.test, "/")[0], false
		for _, f := range parsed(t, c.pkg+"/*_test.go") {
			for _, d := range f.Decls {
				if fn, ok := d.(*ast.FuncDecl); ok && fn.Recv == nil && fn.Name.Name == name {
					found = true
				}
			}
		}
		if !found {
			t.Errorf("%s has no %s", c.pkg, name)
		}
	}
}

// TestEveryRuleStandsInItsFile: once, so that the row breaks what it says it breaks, and the file
// with the bug in it is still a program.
func TestEveryRuleStandsInItsFile(t *testing.T) {
	for _, r := range table {
		files, err := r.apply(root)
		if err != nil {
			t.Error(err)
			continue
		}
		for path, text := range files {
			if filepath.Ext(path) != ".go" {
				continue
			}
			if _, err := parser.ParseFile(token.NewFileSet(), path, text, 0); err != nil {
				t.Errorf("%s: %s with the bug: %v", r.bug, path, err)
			}
		}
	}
}

// TestARuleThatIsGoneIsAnError: a row that changes nothing would be called caught or missed by
// chance.
func TestARuleThatIsGoneIsAnError(t *testing.T) {
	for name, e := range map[string]edit{
		"not there":   {"e2e/bugs/table.go", "no such " + "rule", ""},
		"there twice": {"e2e/bugs/table.go", "package", ""},
		"no file":     {"e2e/bugs/nothing.go", "package", ""},
	} {
		if _, err := (&row{bug: "1", edits: []edit{e}}).apply(root); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

// TestTheProductKnowsNothingOfBugs: no switch for one stands between a reader and the rules.
func TestTheProductKnowsNothingOfBugs(t *testing.T) {
	for _, top := range []string{"internal", "authz", "issuer", "cmd"} {
		look := func(path string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() || filepath.Ext(path) != ".go" {
				return err
			}
			source, err := os.ReadFile(path)
			if bytes.Contains(bytes.ToLower(source), []byte("seeded")) {
				t.Errorf("%s speaks of seeded bugs", path)
			}
			return err
		}
		err := filepath.WalkDir(filepath.Join(root, top), look)
		if err != nil {
			t.Fatal(err)
		}
	}
}

// TestOnlyAFailureOfTheTestCounts: a test that broke, or was not there, has caught nothing.
func TestOnlyAFailureOfTheTestCounts(t *testing.T) {
	for name, c := range map[string]struct {
		script         string
		passed, failed bool
	}{
		"failed":              {`echo "--- FAIL: TestX (0.00s)"; exit 1`, false, true},
		"passed":              {`echo "--- PASS: TestX (0.00s)"`, true, false},
		"another test failed": {`echo "--- FAIL: TestY (0.00s)"; exit 1`, false, false},
		"no such test":        {`echo "testing: warning: no tests to run"; echo PASS`, false, false},
		"broke":               {`echo "panic: out of order"; exit 2`, false, false},
	} {
		binary := filepath.Join(t.TempDir(), "x.test")
		if err := os.WriteFile(binary, []byte("#!/bin/sh\n"+c.script+"\n"), 0o700); err != nil {
			t.Fatal(err)
		}
		o := catcher{".", "TestX"}.run(t.Context(), binary, ".")
		if o.passed != c.passed || o.failed != c.failed || !o.passed && o.why == "" {
			t.Errorf("%s: %+v", name, o)
		}
	}
}

// TestABugThatIsNotCaughtIsReported: by a test that passes with it, and by a program that is not
// built.
func TestABugThatIsNotCaughtIsReported(t *testing.T) {
	w := &workshop{root, t.TempDir()}
	const file, rule = "internal/ownfile/ownfile.go", "package ownfile"
	by := []catcher{{"internal/ownfile", "TestAFailureLeavesTheOldFileAlone"}}
	for name, r := range map[string]row{
		"harmless":   {"1", "x", []edit{{file, rule, rule + " // harmless"}}, by},
		"no program": {"1", "x", []edit{{file, rule, rule + "\n\nvar x int = \"\""}}, by},
	} {
		absolute, err := filepath.Abs(root)
		if err != nil {
			t.Fatal(err)
		}
		w.root = absolute
		if res := w.try(t.Context(), r, false); len(res.by) > 0 || res.why == "" {
			t.Errorf("%s: caught by %v, %q", name, res.by, res.why)
		}
	}
}
