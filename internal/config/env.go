package config

import (
	"fmt"
	"reflect"
)

// readEnv fills v from the environment.
func (l *loader) readEnv(v reflect.Value, all []setting) {
	if l.prefix == "" {
		return
	}
	for _, s := range all {
		names := s.variables(l.prefix)
		value, set := l.lookup(names[0])
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
			l.origins[s.path] = origin{source: names[0]}
			l.sourced(s, names[0], setAny(s.in(v), value))
		}
	}
}

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
