package config

import (
	"fmt"
	"reflect"
	"slices"
	"strings"

	"github.com/spf13/pflag"
)

// given returns what one source other than the file has for a setting, under its name or under a
// former one. spell returns the name that a path has there, and look what is given under a name.
func (l *loader) given(s setting, spell func(path string) string,
	look func(name string) (string, bool)) (name, value string, set bool) {
	name = spell(s.path)
	value, set = look(name)
	for _, former := range s.former {
		old := spell(former)
		text, oldSet := look(old)
		switch {
		case oldSet && set: // nobody knows which of the two was changed last
			l.add(&Problem{Source: old, Path: s.path,
				Err: fmt.Errorf("expected %s or %s, got both", name, old)})
		case oldSet:
			l.warn(&Problem{Source: old, Path: s.path, Err: formerName(name)})
			name, value, set = old, text, true
		}
	}
	return name, value, set
}

// readEnv fills v from the environment.
func (l *loader) readEnv(v reflect.Value, all []setting) {
	if l.prefix == "" {
		return
	}
	l.misspelt(all)
	spell := func(path string) string { return variable(l.prefix, path) }
	for _, s := range all {
		names := s.variables(l.prefix)
		name, value, set := l.given(s, spell, l.lookup)
		if len(names) > 1 {
			file, fileSet := l.lookup(names[1])
			if set && fileSet {
				l.sourced(s, names[1], fmt.Errorf("expected %s or %s, got both", names[0], names[1]))
				continue
			}
			if fileSet {
				l.readEnvSecret(v, s, names[1], file)
				continue
			}
		}
		if set {
			l.sourced(s, name, setAny(s.in(v), value))
		}
	}
}

// misspelt refuses variables that are a slip or two away from a setting's. Others that begin alike
// are left alone: Kubernetes sets NAME_PORT, NAME_SERVICE_HOST and so on for a Service of that
// name.
func (l *loader) misspelt(all []setting) {
	const slips = 2
	var known, former []string // a former name is accepted, but nobody is told to write it
	for _, s := range all {
		known = append(known, s.variables(l.prefix)...)
		former = append(former, s.formerVariables(l.prefix)...)
	}
	for _, entry := range l.environ() {
		name, _, _ := strings.Cut(entry, "=")
		if !strings.HasPrefix(strings.ToUpper(name), l.prefix) || slices.Contains(known, name) ||
			slices.Contains(former, name) {
			continue
		}
		i := slices.IndexFunc(known, func(k string) bool { return edits(plain(name), plain(k)) <= slips })
		if i >= 0 {
			l.add(&Problem{Source: name, Err: fmt.Errorf("unknown variable; did you mean %s?", known[i])})
		}
	}
}

// readEnvSecret fills a secret from the file that a variable names.
func (l *loader) readEnvSecret(v reflect.Value, s setting, variable, file string) {
	secret, err := readSecret(file)
	l.sourced(s, variable, err)
	if err != nil {
		return
	}
	s.in(v).Set(reflect.ValueOf(secret))
}

// sourced notes an error with a value from a variable or a flag.
func (l *loader) sourced(s setting, source string, err error) {
	l.origins[s.path] = origin{source: source}
	if err != nil {
		l.problem(s.path, err)
	}
}

// readFlags fills v from the flags that the user set.
func (l *loader) readFlags(v reflect.Value, all []setting, fs *pflag.FlagSet) {
	if fs == nil {
		return
	}
	spell := func(path string) string { return "--" + flagName(path) }
	for _, s := range all {
		if s.flag() == "" {
			continue
		}
		name, value, set := l.given(s, spell, func(name string) (string, bool) {
			f := fs.Lookup(strings.TrimPrefix(name, "--"))
			if f == nil || !f.Changed {
				return "", false
			}
			return flagText(f.Value), true
		})
		if set {
			l.sourced(s, name, setAny(s.in(v), value))
		}
	}
}
