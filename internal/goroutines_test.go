package internal_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// TestNoGoroutineOfAGateEndsEnvoy: inside Envoy a panic that nobody recovers from ends all that
// Envoy does. So whatever runs in a goroutine of its own, in what a gate links, recovers (daemon.Guard is
// the house's way), or says in the comment above it why it cannot panic, or that no gate runs it.
func TestNoGoroutineOfAGateEndsEnvoy(t *testing.T) {
	cmd := exec.Command("go", "list", "-deps", "-f", "{{.Dir}} {{.ImportPath}}", "./authz/gate")
	cmd.Dir = ".."
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	folders := []string{filepath.Join("..", "authz", "module")} // a module of its own
	for line := range strings.Lines(string(out)) {
		if folder, name, _ := strings.Cut(strings.TrimSpace(line), " "); within(name, module) {
			folders = append(folders, folder)
		}
	}
	found := 0
	for _, folder := range folders {
		found += judgeGoroutines(t, folder)
	}
	if found < 20 {
		t.Errorf("found only %d goroutines in %d folders", found, len(folders))
	}
}

var saysWhy = regexp.MustCompile(`cannot\s+panic|no\s+gate`)

// judgeGoroutines judges the goroutines that begin in a package, and returns how many do.
func judgeGoroutines(t *testing.T, folder string) (found int) {
	t.Helper()
	set := token.NewFileSet()
	names, err := filepath.Glob(filepath.Join(folder, "*.go"))
	if err != nil {
		t.Fatal(err)
	}
	var files []*ast.File
	for _, name := range names {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		file, err := parser.ParseFile(set, name, nil, parser.ParseComments)
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, file)
	}
	for _, file := range files {
		ast.Inspect(file, func(n ast.Node) bool {
			run := begun(n)
			if run == nil {
				return true
			}
			found++
			if !recovers(run, files) && !saysWhy.MatchString(commentAt(set, file, n)) {
				t.Errorf("%s: nobody recovers from a panic here: call daemon.Guard, or say in a comment "+
					"right above why it cannot panic, or that no gate runs it", set.Position(n.Pos()))
			}
			return true
		})
	}
	return found
}

// begun returns what a statement or call runs in a goroutine of its own; nil if it does not.
func begun(n ast.Node) ast.Expr {
	switch n := n.(type) {
	case *ast.GoStmt:
		return n.Call.Fun
	case *ast.CallExpr:
		s, ok := n.Fun.(*ast.SelectorExpr)
		if ok && (s.Sel.Name == "Go" && len(n.Args) == 1 || s.Sel.Name == "AfterFunc") {
			return n.Args[len(n.Args)-1]
		}
	}
	return nil
}

// recovers reports whether a function, or one that is declared in these files, recovers.
func recovers(function ast.Expr, files []*ast.File) bool {
	var body ast.Node = function
	name := ""
	switch f := function.(type) {
	case *ast.Ident:
		name = f.Name
	case *ast.SelectorExpr:
		name = f.Sel.Name
	}
	for _, file := range files {
		for _, d := range file.Decls {
			if f, ok := d.(*ast.FuncDecl); ok && name != "" && f.Name.Name == name {
				body = f
			}
		}
	}
	does := false
	ast.Inspect(body, func(n ast.Node) bool {
		call, ok := n.(*ast.CallExpr)
		if !ok {
			return true
		}
		called := ""
		switch f := call.Fun.(type) {
		case *ast.Ident:
			called = f.Name
		case *ast.SelectorExpr:
			called = f.Sel.Name
		}
		does = does || slices.Contains([]string{"Guard", "guard", "guarded", "recover"}, called)
		return true
	})
	return does
}

// commentAt returns the comment that ends on the line above a node.
func commentAt(set *token.FileSet, file *ast.File, n ast.Node) string {
	line := set.Position(n.Pos()).Line
	for _, c := range file.Comments {
		if set.Position(c.End()).Line == line-1 {
			return c.Text()
		}
	}
	return ""
}
