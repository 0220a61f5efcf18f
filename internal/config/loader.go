package config

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
)

// loader is the state of one Load: what is wrong so far, and where each value came from.
type loader struct {
	file, dir string
	prefix    string
	lookup    func(string) (string, bool)
	environ   func() []string
	flags     bool
	origins   map[string]origin
	leaves    map[string]setting
	problems  []*Problem
	noted     map[string]bool
	advised   map[string]*Problem // by path: to write in quotes what is no string
	warn      func(*Problem)

	withoutSecrets bool
}

func newLoader(o Options) *loader {
	l := &loader{
		file:    o.File,
		dir:     filepath.Dir(o.File),
		prefix:  o.EnvPrefix,
		lookup:  o.LookupEnv,
		environ: func() []string { return nil },
		flags:   o.Flags != nil,
		origins: map[string]origin{},
		leaves:  map[string]setting{},
		noted:   map[string]bool{},
		advised: map[string]*Problem{},
		warn:    o.Warn,

		withoutSecrets: o.WithoutSecrets,
	}
	if l.warn == nil {
		l.warn = func(*Problem) {}
	}
	if l.lookup == nil {
		l.lookup = os.LookupEnv
		l.environ = os.Environ
	}
	if o.Environ != nil {
		l.environ = o.Environ
	}
	return l
}

// name refuses a struct two of whose settings would share one variable, as a.b_c and a_b.c would.
func (l *loader) name(all []setting) error {
	vars := map[string]string{}
	for _, s := range all {
		l.leaves[s.path] = s
		for _, name := range append(s.variables("X"), s.formerVariables("X")...) {
			if other, taken := vars[name]; taken {
				return fmt.Errorf("config: settings %s and %s would share one variable: rename one", other,
					s.path)
			}
			vars[name] = s.path
		}
	}
	return nil
}

// readFile fills v from the file, if there is one. It returns false if the file could not be read
// at all.
func (l *loader) readFile(v reflect.Value, o Options) bool {
	if o.File == "" {
		return true
	}
	limit := o.MaxSize
	if limit == 0 {
		limit = MaxSize
	}
	root, problems := readDocument(o.File, o.Content, limit)
	for _, p := range problems {
		l.add(p)
	}
	if root == nil {
		return false
	}
	l.rename(root, formerNames(v))
	// A setting that is missing is reported where the file begins.
	l.origins[""] = origin{line: root.line, column: root.column}
	l.fill(v, root, "")
	return true
}

// rename moves what the document has under former names to the names of today.
func (l *loader) rename(root *node, names map[string]string) {
	for _, former := range slices.Sorted(maps.Keys(names)) {
		e, given := root.take(former)
		if !given {
			continue
		}
		p := &Problem{File: l.file, Line: e.line, Column: e.column, Path: former}
		if now, both := root.entry(names[former]); both {
			p.Err = fmt.Errorf("expected this or %s, its name today, got both: line %d has the other",
				names[former], now.line)
			l.add(p)
			continue
		}
		root.put(names[former], e) // with its place in the file, for whatever is wrong with it
		p.Err = formerName(names[former])
		l.warn(p)
	}
}

// origin is where a value was given.
type origin struct {
	line, column int
	source       string
}

// problem notes what is wrong with the setting at path.
func (l *loader) problem(path string, err error) {
	l.add(l.locate(path, err))
}

// maxProblems is how many problems are reported at once.
const maxProblems = 100

func (l *loader) add(p *Problem) {
	text := p.Error()
	// A rule that several values break alike is said once.
	if l.noted[text] || len(l.problems) == maxProblems {
		return
	}
	l.noted[text] = true
	l.problems = append(l.problems, p)
}

// locate returns the problem with the place where the setting at path was given, or where it should
// have been: in the innermost mapping around it.
func (l *loader) locate(path string, err error) *Problem {
	p := &Problem{Path: path, Err: err}
	o, given := l.origins[path]
	for at := path; !given && at != ""; {
		at = parent(at)
		o, given = l.origins[at]
	}
	switch {
	case o.source != "":
		p.Source = o.source
	case l.file != "":
		p.File, p.Line, p.Column = l.file, o.line, o.column
	default:
		p.Source = l.names(path)
	}
	return p
}

// names returns how to give a setting when there is no file.
func (l *loader) names(path string) string {
	s, leaf := l.leaves[path]
	if !leaf {
		return path
	}
	var names []string
	if l.prefix != "" {
		names = append(names, s.variables(l.prefix)[0])
	}
	if l.flags && s.flag() != "" {
		names = append(names, "--"+s.flag())
	}
	if len(names) == 0 {
		return path
	}
	return fmt.Sprintf("%s (%s)", path, strings.Join(names, ", "))
}

func parent(path string) string {
	return path[:max(0, strings.LastIndexAny(path, ".["))]
}

// blames reports whether one of the problems is about the setting at path or about one around it.
func blames(problems []*Problem, path string) bool {
	return slices.ContainsFunc(problems, func(p *Problem) bool {
		rest, within := strings.CutPrefix(path, p.Path)
		return p.Path != "" && within && (rest == "" || rest[0] == '.' || rest[0] == '[')
	})
}

// err returns the problems as one error: those of the file in its order, then the others in the
// order in which they were found.
func (l *loader) err() error {
	slices.SortStableFunc(l.problems, func(a, b *Problem) int {
		if a.Source != "" || b.Source != "" {
			return min(len(a.Source), 1) - min(len(b.Source), 1)
		}
		return cmp.Or(cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column))
	})
	errs := make([]error, len(l.problems))
	for i, p := range l.problems {
		errs[i] = p
	}
	return errors.Join(errs...)
}
