package internal_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// attacks on revocation and sessions, by their numbers. Each is a case of a TestAttacks, named
// number_what_it_is.
var attacks = map[int]string{
	85:  "gate restarts while Redis is down",
	86:  "FLUSHALL",
	87:  "trimmed log",
	88:  "failover loses acknowledged writes",
	89:  "split brain",
	90:  "dropped connection, missed entries",
	91:  "log id goes back",
	92:  "storage error",
	93:  "clocks 300 s apart",
	94:  "cutoff and login in one second",
	95:  "refresh beside refresh",
	96:  "refresh beside revoke",
	97:  "reuse after a restart",
	98:  "entry dropped before its token's expiry",
	99:  "two tokens confused in the cache",
	100: "a disabled user refreshes",
}

// advisories on revocation, sessions and refresh. Each is a case of a TestCVE, named by its id;
// what does not apply has a case that shows why.
var advisories = []string{
	"CVE-2020-10594",
	"CVE-2020-15222",
	"CVE-2020-15223",
	"CVE-2020-26892",
	"CVE-2021-41230",
	"CVE-2022-41316",
	"CVE-2024-41666",
	"CVE-2026-1035",
	"CVE-2026-18208",
	"CVE-2026-18218",
	"CVE-2026-27840",
	"CVE-2026-43983",
	"CVE-2026-55672",
	"CVE-2026-56668",
	"CVE-2026-56750",
	"CVE-2026-58425",
	"CVE-2026-68481",
	"CVE-2026-9097",
	"CVE-2026-9802",
	"CVE-2026-101023",
	"GHSA-x4vh-j75g-268g",
}

// TestEveryAttackOnRevocationHasItsTest finds the cases where they are written, prints which room
// has which, and names what has none.
func TestEveryAttackOnRevocationHasItsTest(t *testing.T) {
	found := casesOf(t, "TestAttacks", regexp.MustCompile(`^(\d+)_[a-z0-9_]+$`))
	for number, what := range attacks {
		if rooms := found[strconv.Itoa(number)]; len(rooms) == 0 {
			t.Errorf("attack %d, %s, has no case in any TestAttacks", number, what)
		} else {
			t.Logf("%d %s: %s", number, what, strings.Join(rooms, ", "))
		}
	}
	for number := range found {
		if n, err := strconv.Atoi(number); err != nil || attacks[n] == "" && n >= 85 && n <= 100 {
			t.Errorf("attack %s is not in the list", number)
		}
	}
}

// TestEveryAdvisoryOnRevocationHasItsTest is the same for advisories.
func TestEveryAdvisoryOnRevocationHasItsTest(t *testing.T) {
	found := casesOf(t, "TestCVE",
		regexp.MustCompile(`^((?:CVE-\d{4}-\d+)|(?:GHSA(?:-[a-z0-9]{4}){3}))$`))
	for _, id := range advisories {
		if rooms := found[id]; len(rooms) == 0 {
			t.Errorf("%s has no case in any TestCVE", id)
		} else {
			t.Logf("%s: %s", id, strings.Join(rooms, ", "))
		}
	}
}

// casesOf returns the folders of the test functions of that name in which a text stands that matches,
// by its first group.
func casesOf(t *testing.T, function string, name *regexp.Regexp) map[string][]string {
	t.Helper()
	found := map[string][]string{}
	err := filepath.WalkDir("..", func(path string, entry fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case entry.IsDir() && strings.HasPrefix(entry.Name(), ".") && entry.Name() != "..":
			return filepath.SkipDir
		case !strings.HasSuffix(path, "_test.go"):
			return nil
		}
		file, err := parser.ParseFile(token.NewFileSet(), path, nil, 0)
		if err != nil {
			return err
		}
		for _, declared := range file.Decls {
			if f, ok := declared.(*ast.FuncDecl); ok && f.Name.Name == function && f.Recv == nil {
				collect(f, name, strings.TrimPrefix(filepath.Dir(path), "../"), found)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

func collect(in ast.Node, name *regexp.Regexp, room string, found map[string][]string) {
	ast.Inspect(in, func(n ast.Node) bool {
		literal, ok := n.(*ast.BasicLit)
		if !ok || literal.Kind != token.STRING {
			return true
		}
		text, err := strconv.Unquote(literal.Value)
		if match := name.FindStringSubmatch(text); err == nil && match != nil &&
			!slices.Contains(found[match[1]], room) {
			found[match[1]] = append(found[match[1]], room)
		}
		return true
	})
}
