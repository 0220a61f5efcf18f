package main

import (
	"bytes"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/sallyport/sallyport/internal/seeded"
)

const root = "../.."

// parsed gives the syntax of Go files.
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

// declared are the seeded bugs by their names in the code.
func declared(t *testing.T) map[string]seeded.Bug {
	t.Helper()
	found := map[string]seeded.Bug{}
	ast.Inspect(parsed(t, "internal/seeded/bugs.go")[0], func(n ast.Node) bool {
		if v, ok := n.(*ast.ValueSpec); ok {
			id, err := strconv.Unquote(v.Values[0].(*ast.BasicLit).Value)
			if err != nil {
				t.Fatal(err)
			}
			found[v.Names[0].Name] = seeded.Bug(id)
		}
		return true
	})
	return found
}

// TestTheTableHasEveryBug: each of them, in order, each form once and with something to catch it.
func TestTheTableHasEveryBug(t *testing.T) {
	seen, last := map[seeded.Bug]bool{}, 0
	for _, r := range table {
		n, err := strconv.Atoi(strings.TrimRight(string(r.bug), "abcdef"))
		if err != nil || n != last && n != last+1 {
			t.Errorf("%s comes after %d", r.bug, last)
		}
		last = n
		if seen[r.bug] || r.what == "" || len(r.catchers) == 0 {
			t.Errorf("%s: twice, without words or without a catcher", r.bug)
		}
		seen[r.bug] = true
	}
	if last != 41 {
		t.Errorf("the last bug is %d, expected 41", last)
	}
	for name, bug := range declared(t) {
		if !seen[bug] {
			t.Errorf("%s (%s) is not in the table", bug, name)
		}
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

// TestEverySwitchIsInTheProduct: a bug that the product's code never asks about breaks nothing.
func TestEverySwitchIsInTheProduct(t *testing.T) {
	asked := map[string]bool{}
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() && strings.HasPrefix(d.Name(), ".") && d.Name() != ".." {
			return fs.SkipDir
		}
		if !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") || strings.Contains(path, "e2e") {
			return nil
		}
		source, err := os.ReadFile(path)
		for name := range declared(t) {
			if bytes.Contains(source, []byte("seeded."+name)) || strings.HasSuffix(path, "seeded/on.go") && bytes.Contains(source, []byte(name+":")) {
				asked[name] = true
			}
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	for name := range declared(t) {
		if !asked[name] {
			t.Errorf("nothing asks about %s", name)
		}
	}
}

// TestAProgramBuiltAsUsualHoldsNoBug: no trace of the switches is in it. One built for the bugs shows that a trace would be
// found.
func TestAProgramBuiltAsUsualHoldsNoBug(t *testing.T) {
	for _, command := range []string{"issuer", "authz", "sallyport"} {
		if trace := traceIn(t, command); trace != "" {
			t.Errorf("%s holds %q", command, trace)
		}
	}
	if traceIn(t, "issuer", "-tags", "seededbugs") == "" {
		t.Error("a program with seeded bugs is not told from one without")
	}
}

// traceIn builds a command and looks for what only a program with seeded bugs would hold.
func traceIn(t *testing.T, command string, flags ...string) string {
	t.Helper()
	out := filepath.Join(t.TempDir(), command)
	args := append(append([]string{"build", "-o", out}, flags...), "./cmd/"+command)
	cmd := exec.Command("go", args...)
	cmd.Dir = root
	if text, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("go %v: %v\n%s", args, err, text)
	}
	program, err := os.ReadFile(out)
	if err != nil {
		t.Fatal(err)
	}
	for _, trace := range []string{variable, atWork, "internal/seeded.", "appendWrongly", "gateWrongly"} {
		if bytes.Contains(program, []byte(trace)) {
			return trace
		}
	}
	return ""
}

// TestOnlyAFailureThatCameToTheBugCounts: a test that broke for another reason has caught nothing.
func TestOnlyAFailureThatCameToTheBugCounts(t *testing.T) {
	for name, c := range map[string]struct {
		script string
		want   int
	}{
		"failed and came to it": {`echo "%s"; echo "--- FAIL: TestX (0.00s)"; exit 1`, 1},
		"failed elsewhere":      {`echo "--- FAIL: TestX (0.00s)"; exit 1`, 0},
		"passed":                {`echo "%s"; echo "--- PASS: TestX (0.00s)"`, 0},
		"another test failed":   {`echo "%s"; echo "--- FAIL: TestY (0.00s)"; exit 1`, 0},
		"no such test":          {`echo "testing: warning: no tests to run"; echo PASS`, 0},
		"broke":                 {`echo "%s"; echo "panic: out of order"; exit 2`, 0},
	} {
		script := c.script
		if strings.Contains(script, "%s") {
			script = fmt.Sprintf(script, atWork+"1")
		}
		binary := filepath.Join(t.TempDir(), "x.test")
		if err := os.WriteFile(binary, []byte("#!/bin/sh\n"+script+"\n"), 0o700); err != nil {
			t.Fatal(err)
		}
		b := &built{binaries: map[string]string{".": binary}}
		r := b.try(t.Context(), row{bug: "1", what: "x", catchers: []catcher{{".", "TestX"}}}, false)
		if len(r.by) != c.want || c.want == 0 && r.why == "" {
			t.Errorf("%s: caught by %v, %q", name, r.by, r.why)
		}
	}
}
