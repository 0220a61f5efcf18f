package internal_test

import (
	"cmp"
	"flag"
	"fmt"
	"go/ast"
	"go/build/constraint"
	"go/parser"
	"go/token"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"
)

// The limits, for files that are no tests. CONTRIBUTING.md says what each figure is for.
const (
	columns         = 100 // a tab counts as one
	longLinesLimit  = 0.6 // % of the lines
	placesLimit     = 4   // files in which the methods of one type stand
	longFunction    = 15  // lines, from "func" to the closing brace
	uncommentedMost = 55  // % of the functions of longFunction lines and more
)

var figuresOf = flag.String("room", "", "print every place behind the figures of this folder")

// verifying says which folders exist only for tests and proofs, whatever their files are called.
var verifying = regexp.MustCompile(
	`^(e2e|bench|internal/(model|mesh|eventually))(/|$)|test$`)

// TestFiguresAreWithinTheirLimits prints the code's figures, per package with -v, and every place
// behind those of one folder with -room. "long" are lines over the limit, "15+" the functions of so many
// lines, "bare" those of them without a comment inside.
//
//	go test ./internal -run TestFiguresAreWithinTheirLimits -v -room internal/session
func TestFiguresAreWithinTheirLimits(t *testing.T) {
	files := readModule(t)
	if len(files) < 100 {
		t.Fatalf("read only %d files: some are missing", len(files))
	}
	all, packages := sumUp(files)
	t.Logf("%-34s %13s %13s %5s %5s %6s", "", "product", "tests", "", "", "")
	t.Logf("%-34s %7s %5s %7s %5s %5s %5s %6s", "package",
		"lines", "long", "lines", "long", "15+", "bare", "")
	for _, name := range slices.Sorted(maps.Keys(packages)) {
		t.Log(packages[name].row(name))
	}
	t.Log(all.row("all"))
	t.Logf("lines that are not in tests: %d, of which %d in packages that only verify",
		all.lines, all.verifying)
	t.Logf("doc comments that open with gives or says: %d; with returns or reports: %d",
		all.gives, all.returns)
	printPlaces(t, files)

	if share := percent(all.long, all.lines); share >= longLinesLimit {
		t.Errorf("%.2f %% of the lines are over %d columns, expected less than %.1f %%",
			share, columns, longLinesLimit)
	} else {
		t.Logf("lines over %d columns: %.2f %%", columns, share)
	}
	if share := percent(all.bare, all.functions); share >= uncommentedMost {
		t.Errorf("%.1f %% of the functions of %d lines and more have no comment inside, "+
			"expected less than %d %%", share, longFunction, uncommentedMost)
	} else {
		t.Logf("functions of %d lines and more without a comment inside: %.1f %%",
			longFunction, share)
	}
	checkTypes(t, files)
	checkSwitches(t, files)
}

// checkTypes fails for each type whose methods stand in too many files, and prints the highest
// number. Files with the tag model are not counted: they look into types for the model's sake.
func checkTypes(t *testing.T, files []*sourceFile) {
	t.Helper()
	places := map[string][]string{}
	for _, f := range files {
		if f.test || f.model {
			continue
		}
		for _, name := range f.receivers {
			key := path.Dir(f.path) + "." + name
			if base := path.Base(f.path); !slices.Contains(places[key], base) {
				places[key] = append(places[key], base)
			}
		}
	}
	byPlaces := func(a, b string) int {
		return cmp.Or(cmp.Compare(len(places[b]), len(places[a])), cmp.Compare(a, b))
	}
	for i, name := range slices.SortedFunc(maps.Keys(places), byPlaces) {
		in := places[name]
		switch {
		case len(in) > placesLimit:
			t.Errorf("the methods of %s stand in %d files, expected at most %d: %s",
				name, len(in), placesLimit, strings.Join(in, ", "))
		case i == 0:
			t.Logf("most files in which a type's methods stand: %d (%s)", len(in), name)
		}
	}
}

// checkSwitches fails for whatever in the product knows of bugs made on purpose: they are made
// over the product's files when they are built (e2e/bugs), so that nobody reads around them.
func checkSwitches(t *testing.T, files []*sourceFile) {
	t.Helper()
	for _, f := range files {
		top, _, _ := strings.Cut(f.path, "/")
		if f.test || !slices.Contains([]string{"internal", "authz", "issuer", "cmd"}, top) {
			continue
		}
		for _, place := range f.switches {
			t.Errorf("%s: the product knows nothing of bugs made on purpose (e2e/bugs)", place)
		}
	}
}

func printPlaces(t *testing.T, files []*sourceFile) {
	t.Helper()
	if *figuresOf == "" {
		return
	}
	for _, f := range files {
		if within(path.Dir(f.path), path.Clean(*figuresOf)) {
			for _, place := range f.places {
				t.Log(place)
			}
		}
	}
}

// figures are what is counted. All but tests are of files that are no tests.
type figures struct {
	lines, tests, verifying int
	long, longTests         int // lines over the column
	functions, bare         int // of longFunction lines and more; of these without a comment
	gives, returns          int // first verbs of doc comments
}

func (f figures) row(name string) string {
	return fmt.Sprintf("%-34s %7d %5d %7d %5d %5d %5d %4.0f %%", name, f.lines, f.long,
		f.tests, f.longTests, f.functions, f.bare, percent(f.bare, f.functions))
}

func percent(part, whole int) float64 {
	return 100 * float64(part) / float64(max(whole, 1))
}

func sumUp(files []*sourceFile) (all figures, packages map[string]figures) {
	packages = map[string]figures{}
	for _, f := range files {
		name := path.Dir(f.path)
		of := packages[name]
		for _, sum := range []*figures{&all, &of} {
			if f.test {
				sum.tests += f.lines
				sum.longTests += f.long
				continue
			}
			sum.lines += f.lines
			sum.long += f.long
			sum.functions += f.functions
			sum.bare += f.bare
			sum.gives += f.gives
			sum.returns += f.returns
			if verifying.MatchString(name) {
				sum.verifying += f.lines
			}
		}
		packages[name] = of
	}
	return all, packages
}

// sourceFile is what the figures need of one file.
type sourceFile struct {
	figures
	path        string // from the module's root, with slashes
	test, model bool   // named _test.go; built with the tag model only
	receivers   []string
	switches    []string // places that know of bugs
	places      []string // what -room prints
}

// readModule reads the Go files of the module that the parent folder holds, without the modules
// inside it and without what tools have put there (.tools).
func readModule(t *testing.T) []*sourceFile {
	t.Helper()
	root := os.DirFS("..")
	var files []*sourceFile
	err := fs.WalkDir(root, ".", func(name string, entry fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case entry.IsDir() && name != ".":
			_, err := fs.Stat(root, path.Join(name, "go.mod"))
			if err == nil || strings.HasPrefix(entry.Name(), ".") {
				return fs.SkipDir
			}
		case path.Ext(name) == ".go":
			files = append(files, readSource(t, name))
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}

// switchWord is in two parts because e2e/bugs has a test that finds the word in tests, too.
const switchWord = "seed" + "ed"

// bugWord fits names, build tags and environment variables that speak of bugs, not debug.
var bugWord = regexp.MustCompile(`(^|_)[bB]ugs?($|[A-Z_])|[a-z]Bugs?($|[A-Z_])|(^|_)BUGS?($|_)`)

func readSource(t *testing.T, name string) *sourceFile {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("..", filepath.FromSlash(name)))
	if err != nil {
		t.Fatal(err)
	}
	set := token.NewFileSet()
	tree, err := parser.ParseFile(set, name, text, parser.ParseComments)
	if err != nil {
		t.Fatal(err)
	}
	f := &sourceFile{path: name, test: strings.HasSuffix(name, "_test.go")}
	for line := range strings.Lines(string(text)) {
		f.lines++
		if n := utf8.RuneCountInString(strings.TrimRight(line, "\r\n")); n > columns {
			f.long++
			f.note("%s:%d: %d columns", name, f.lines, n)
		}
		if strings.Contains(strings.ToLower(line), switchWord) {
			f.switches = append(f.switches, fmt.Sprintf("%s:%d", name, f.lines))
		}
	}
	f.readComments(set, tree)
	ast.Inspect(tree, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.FuncDecl:
			f.readFunction(set, tree, n)
		case *ast.Ident:
			f.findBugs(set, n.Pos(), n.Name)
		case *ast.BasicLit:
			f.findBugs(set, n.Pos(), strings.Trim(n.Value, "\"`"))
		}
		return true
	})
	return f
}

func (f *sourceFile) note(format string, args ...any) {
	f.places = append(f.places, fmt.Sprintf(format, args...))
}

func (f *sourceFile) findBugs(set *token.FileSet, at token.Pos, text string) {
	if bugWord.MatchString(text) {
		f.switches = append(f.switches, set.Position(at).String())
	}
}

// readComments reads the build tags, and which verb the doc comments open with. A comment is
// known for a doc comment by its form: the name of something, then the verb.
func (f *sourceFile) readComments(set *token.FileSet, tree *ast.File) {
	for _, group := range tree.Comments {
		for _, c := range group.List {
			if !constraint.IsGoBuild(c.Text) || c.Pos() > tree.Package {
				continue
			}
			if tags, err := constraint.Parse(c.Text); err == nil {
				f.model = !tags.Eval(func(tag string) bool { return tag != "model" }) &&
					tags.Eval(func(string) bool { return true })
				f.findBugs(set, c.Pos(), tags.String())
			}
		}
	}
	ast.Inspect(tree, func(n ast.Node) bool {
		var doc *ast.CommentGroup
		switch n := n.(type) {
		case *ast.FuncDecl:
			doc = n.Doc
		case *ast.GenDecl:
			doc = n.Doc
		case *ast.TypeSpec:
			doc = n.Doc
		case *ast.ValueSpec:
			doc = n.Doc
		case *ast.Field:
			doc = n.Doc
		}
		words := strings.Fields(doc.Text())
		if len(words) < 2 {
			return true
		}
		switch strings.TrimRight(words[1], ",:;.") {
		case "gives", "says":
			f.gives++
			f.note("%s: %s %s", set.Position(doc.Pos()), words[0], words[1])
		case "returns", "reports":
			f.returns++
		}
		return true
	})
}

func (f *sourceFile) readFunction(set *token.FileSet, tree *ast.File, fn *ast.FuncDecl) {
	if fn.Recv != nil {
		f.receivers = append(f.receivers, receiver(fn.Recv.List[0].Type))
	}
	if fn.Body == nil {
		return
	}
	first, last := set.Position(fn.Type.Pos()), set.Position(fn.Body.Rbrace)
	lines := last.Line - first.Line + 1
	if lines < longFunction {
		return
	}
	f.functions++
	if f.test {
		return
	}
	inside := func(c *ast.CommentGroup) bool {
		// Text is empty for what speaks to tools alone, as //nolint and //go:embed do.
		return fn.Body.Lbrace < c.Pos() && c.End() < fn.Body.Rbrace && c.Text() != ""
	}
	if !slices.ContainsFunc(tree.Comments, inside) {
		f.bare++
		f.note("%s: %s: %d lines without a comment inside", first, fn.Name.Name, lines)
	}
}

// receiver returns the type's name, without its star and type parameters.
func receiver(of ast.Expr) string {
	switch of := of.(type) {
	case *ast.StarExpr:
		return receiver(of.X)
	case *ast.IndexExpr:
		return receiver(of.X)
	case *ast.IndexListExpr:
		return receiver(of.X)
	case *ast.Ident:
		return of.Name
	}
	return "?"
}
