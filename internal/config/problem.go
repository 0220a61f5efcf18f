package config

import (
	"errors"
	"fmt"
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

// Error returns "file:line:column: setting: what is wrong", or has the variable or flag in the
// file's place.
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
	if p.Path != "" && p.Source == "" { // a variable or a flag names its setting itself
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
		default: // wrapped: the words around it stay, and it is found by its path
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
