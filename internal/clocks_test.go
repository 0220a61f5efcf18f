package internal_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"strings"
	"testing"
)

// TestTheDaemonsHandInTheTimeOfTheClockRoom: what they hand to keys, key ring, users and limits is
// judged by the same clock as tokens and revocations, and a test that moves a process' clock moves
// it for all of them.
func TestTheDaemonsHandInTheTimeOfTheClockRoom(t *testing.T) {
	read := 0
	for _, room := range []string{"cmd/issuer", "cmd/authz", "cmd/relay", "authz/gate"} {
		files, err := filepath.Glob(filepath.Join("..", room, "*.go"))
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range files {
			if strings.HasSuffix(name, "_test.go") {
				continue
			}
			read++
			set := token.NewFileSet()
			file, err := parser.ParseFile(set, name, nil, 0)
			if err != nil {
				t.Fatal(err)
			}
			ast.Inspect(file, func(n ast.Node) bool {
				s, ok := n.(*ast.SelectorExpr)
				if !ok {
					return true
				}
				if p, ok := s.X.(*ast.Ident); ok && p.Name == "time" &&
					(s.Sel.Name == "Now" || s.Sel.Name == "Since" || s.Sel.Name == "Until") {
					t.Errorf("%s: time.%s reads the machine's clock past internal/clock",
						set.Position(s.Pos()), s.Sel.Name)
				}
				return true
			})
		}
	}
	if read < 5 {
		t.Fatalf("read only %d files of the daemons", read)
	}
}
