package config

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// Problem is one thing that is wrong with the settings, and where it was given.
type Problem struct {
	File         string // the configuration file, when the setting is or should be there
	Line, Column int    // 1-based; 0 when the file as a whole is meant
	Source       string // the variable or flag that gave the value, "--redis-address"
	Path         string // the setting, "issuers[0].audiences"; "" for the whole
	Err          error  // what was expected and what came
}

// Error gives "file:line:column: setting: what is wrong", or the variable or flag in the file's
// place.
func (p *Problem) Error() string {
	var b strings.Builder
	switch {
	case p.Source != "":
		fmt.Fprintf(&b, "%s: ", p.Source)
	case p.Line > 0:
		fmt.Fprintf(&b, "%s:%d:%d: ", p.File, p.Line, p.Column)
	case p.File != "":
		fmt.Fprintf(&b, "%s: ", p.File)
	}
	if p.Path != "" && p.Source == "" {
		fmt.Fprintf(&b, "%s: ", p.Path)
	}
	b.WriteString(p.Err.Error())
	return b.String()
}

// Unwrap returns what is wrong.
func (p *Problem) Unwrap() error { return p.Err }

// Problems lists what is wrong according to an error of Load; nil when the error is of another
// kind.
func Problems(err error) []*Problem {
	var out []*Problem
	for _, e := range flatten(err) {
		var p *Problem
		if errors.As(e, &p) {
			out = append(out, p)
		}
	}
	return out
}

// At returns an error about one setting, for Validate methods to return, several joined by
// errors.Join. The path is relative to the value that is being validated: "audiences",
// "tls.ca_file", "routes[3].match.path". Load reports it with the place where that setting was
// given. The format may hold %w.
func At(path, format string, args ...any) error {
	return &settingError{path: path, err: fmt.Errorf(format, args...)}
}

// Within puts a path in front of those of an inner value's Validate, for code that validates
// without Load. A nil error stays nil.
func Within(path string, err error) error {
	var out []error
	for _, e := range flatten(err) {
		var about *settingError
		switch {
		case !errors.As(e, &about):
			out = append(out, &settingError{path: path, err: e})
		case e == error(about):
			out = append(out, &settingError{path: join(path, about.path), err: about.err})
		default:
			out = append(out, &settingError{path: join(path, about.path), err: e})
		}
	}
	return errors.Join(out...)
}

type settingError struct {
	path string
	err  error
}

func (e *settingError) Error() string {
	if e.path == "" {
		return e.err.Error()
	}
	return e.path + ": " + e.err.Error()
}

func (e *settingError) Unwrap() error { return e.err }

// flatten takes apart what errors.Join put together.
func flatten(err error) []error {
	joined, ok := err.(interface{ Unwrap() []error })
	if !ok {
		if err == nil {
			return nil
		}
		return []error{err}
	}
	var out []error
	for _, e := range joined.Unwrap() {
		out = append(out, flatten(e)...)
	}
	return out
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
	if l.noted[text] || len(l.problems) == maxProblems {
		return
	}
	l.noted[text] = true
	l.problems = append(l.problems, p)
}

// locate finds where the setting at path was given, or where it should have been: in the innermost
// mapping around it.
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

// names tells how to give a setting when there is no file.
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

// err joins the problems: those of the file in its order, then the others in the order they were
// found.
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
