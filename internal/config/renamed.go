package config

import (
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
)

// Renamer is implemented by the struct given to Load if some of its settings once had other names.
// FormerNames returns the name of today for each former one, both of a setting or both of a mapping
// of settings: {"http.drain_delay": "drain.delay"}. Load takes the former name wherever it takes
// today's, and tells Options.Warn; both in the file, both in the environment or both as flags is an
// error. Secrets, and settings within lists, have no former names.
type Renamer interface{ FormerNames() map[string]string }

// settingsOf lists the leaves of a settings struct with their former names.
func settingsOf(v reflect.Value) ([]setting, error) {
	all, err := settings(v.Type())
	if err != nil {
		return nil, err
	}
	names := formerNames(v)
	for _, former := range slices.Sorted(maps.Keys(names)) {
		used := false
		for i := range all {
			rest, below := strings.CutPrefix(all[i].path, names[former])
			// A secret has a file's name besides, in other words in each source: none has been renamed.
			if below && (rest == "" || rest[0] == '.') && !isSecret(all[i].typ) {
				all[i].former = append(all[i].former, former+rest)
				used = true
			}
		}
		if !used {
			return nil, fmt.Errorf("config: expected %s to be a setting's name today, got none of that name",
				names[former])
		}
	}
	return all, nil
}

func formerNames(v reflect.Value) map[string]string {
	if r, ok := v.Addr().Interface().(Renamer); ok {
		return r.FormerNames()
	}
	return nil
}

// formerName returns what a warning says.
func formerName(today string) error {
	return errors.New("this is a former name, which is still accepted: write " + today)
}

// entry returns the entry at a path, through mappings alone.
func (n *node) entry(path string) (entry, bool) {
	key, rest, deeper := strings.Cut(path, ".")
	i := slices.IndexFunc(n.entries, func(e entry) bool { return e.key == key })
	switch {
	case i < 0:
		return entry{}, false
	case deeper:
		return n.entries[i].value.entry(rest)
	}
	return n.entries[i], true
}

// take is entry, and removes it. A mapping that has nothing else goes with it: it need not
// be one that there is today.
func (n *node) take(path string) (e entry, given bool) {
	key, rest, deeper := strings.Cut(path, ".")
	i := slices.IndexFunc(n.entries, func(e entry) bool { return e.key == key })
	if i < 0 {
		return entry{}, false
	}
	e, given = n.entries[i], true
	if deeper {
		e, given = n.entries[i].value.take(rest)
	}
	if given && (!deeper || len(n.entries[i].value.entries) == 0) {
		n.entries = slices.Delete(n.entries, i, i+1)
	}
	return e, given
}

// put adds an entry at a path, where there is none. The mappings around it that are not there are
// made, and stand where the entry does.
func (n *node) put(path string, e entry) {
	key, rest, deeper := strings.Cut(path, ".")
	if n.kind == null { // "drain:" with nothing under it
		n.kind = mapping
	}
	if !deeper {
		n.entries = append(n.entries, entry{key: key, line: e.line, column: e.column, value: e.value})
		return
	}
	i := slices.IndexFunc(n.entries, func(in entry) bool { return in.key == key })
	if i < 0 {
		i = len(n.entries)
		inner := &node{kind: mapping, line: e.line, column: e.column}
		n.entries = append(n.entries, entry{key: key, line: e.line, column: e.column, value: inner})
	}
	n.entries[i].value.put(rest, e)
}
