package internal_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// pages are those that lead a reader through the code.
var pages = []string{"../docs/architecture.md", "../docs/glossary.md"}

var (
	quoted = regexp.MustCompile("`([^`\n]+)`")
	// a path in the repository: it begins with one of its folders and has no wildcard
	aPath = regexp.MustCompile(`^(authz|bench|cmd|deploy|docs|e2e|examples|internal|issuer|k8s)(/[\w.-]+)+$`)
	// package.Name, and the method that may be named behind it
	aName = regexp.MustCompile("`([a-z]+)\\.([A-Z]\\w*)`(?:,\\s+method\\s+`(\\w+)`)?")
	// a file, and the functions and types that are named behind it: `a/b.go`: `F`; `a/b.go`, `F`, `G`
	inFile = regexp.MustCompile("`([\\w./-]+\\.(?:go|lua))`([:,][^.|;]*)")
	aWord  = regexp.MustCompile(`^\w+$`)
)

// TestThePagesNameWhatThereIs: files, types and functions that move take the pages along.
func TestThePagesNameWhatThereIs(t *testing.T) {
	declared := declarations(t)
	for _, page := range pages {
		text := read(t, page)
		for _, m := range quoted.FindAllStringSubmatch(text, -1) {
			if _, err := os.Stat(filepath.Join("..", m[1])); aPath.MatchString(m[1]) && err != nil {
				t.Errorf("%s: there is no %s", page, m[1])
			}
		}
		for _, m := range aName.FindAllStringSubmatch(text, -1) {
			name := m[1] + "." + m[2]
			if !declared[name] {
				t.Errorf("%s: there is no %s", page, name)
			} else if m[3] != "" && !declared[name+"."+m[3]] {
				t.Errorf("%s: %s has no method %s", page, name, m[3])
			}
		}
		for _, m := range inFile.FindAllStringSubmatch(text, -1) {
			code, err := os.ReadFile(filepath.Join("..", m[1]))
			if err != nil {
				continue // said above
			}
			for _, w := range quoted.FindAllStringSubmatch(m[2], -1) {
				word := regexp.MustCompile(`\b` + w[1] + `\b`)
				if aWord.MatchString(w[1]) && !word.Match(code) {
					t.Errorf("%s: %s has no %s", page, m[1], w[1])
				}
			}
		}
	}
}

// TestTheGlossaryIsInOrder, so that a term is found, and stands there once.
func TestTheGlossaryIsInOrder(t *testing.T) {
	var terms []string
	for _, m := range regexp.MustCompile(`(?m)^\*\*([^*]+)\*\*`).
		FindAllStringSubmatch(read(t, "../docs/glossary.md"), -1) {
		terms = append(terms, strings.ToLower(m[1]))
	}
	if len(terms) < 50 {
		t.Fatalf("expected at least 50 terms, got %d", len(terms))
	}
	for i, term := range terms[1:] {
		if term <= terms[i] {
			t.Errorf("%q stands behind %q", term, terms[i])
		}
	}
}

func read(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// declarations lists what the packages declare at their top: package.Name, package.Type.Method,
// and the methods that an interface asks for or a type has from what it embeds.
func declarations(t *testing.T) map[string]bool {
	t.Helper()
	declared, embeds := map[string]bool{}, map[string][]string{}
	for _, root := range []string{".", "../authz", "../issuer"} {
		err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
			if err != nil || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
				return err
			}
			file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.SkipObjectResolution)
			if err != nil {
				return err
			}
			for _, decl := range file.Decls {
				declare(declared, embeds, file.Name.Name+".", decl)
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	for outer, inner := range embeds {
		for name := range declared {
			for _, embedded := range inner {
				if method, ok := strings.CutPrefix(name, embedded+"."); ok {
					declared[outer+"."+method] = true
				}
			}
		}
	}
	return declared
}

func declare(declared map[string]bool, embeds map[string][]string, pkg string, decl ast.Decl) {
	switch d := decl.(type) {
	case *ast.FuncDecl:
		if d.Recv == nil {
			declared[pkg+d.Name.Name] = true
		} else if of := typeName(d.Recv.List[0].Type); of != "" {
			declared[pkg+of+"."+d.Name.Name] = true
		}
	case *ast.GenDecl:
		for _, spec := range d.Specs {
			switch s := spec.(type) {
			case *ast.ValueSpec:
				for _, n := range s.Names {
					declared[pkg+n.Name] = true
				}
			case *ast.TypeSpec:
				declared[pkg+s.Name.Name] = true
				if st, ok := s.Type.(*ast.StructType); ok {
					for _, f := range st.Fields.List {
						if len(f.Names) == 0 && typeName(f.Type) != "" {
							embeds[pkg+s.Name.Name] = append(embeds[pkg+s.Name.Name], pkg+typeName(f.Type))
						}
					}
				}
			}
		}
	}
}

// typeName returns the name of a type of the package's own, or of a pointer to one; "" for others.
func typeName(e ast.Expr) string {
	switch x := e.(type) {
	case *ast.StarExpr:
		return typeName(x.X)
	case *ast.IndexExpr:
		return typeName(x.X)
	case *ast.Ident:
		return x.Name
	}
	return ""
}
