package config

import (
	"errors"
	"fmt"
	"path/filepath"
	"reflect"
)

// fill sets v to the value of n. It notes every problem and goes on.
func (l *loader) fill(v reflect.Value, n *node, path string) {
	v = settle(v)
	// An entry's own place, at its key or its value, was noted by the mapping around it.
	if _, known := l.origins[path]; !known {
		l.origins[path] = origin{line: n.line, column: n.column}
	}
	t := v.Type()
	switch {
	case t == valueType:
		v.SetBytes(n.json())
	case isScalar(t):
		l.fillScalar(v, n, path)
	case t.Kind() == reflect.Struct:
		l.fillStruct(v, n, path)
	case t.Kind() == reflect.Slice:
		l.fillList(v, n, path)
	default:
		l.fillMap(v, n, path)
	}
}

func (l *loader) fillScalar(v reflect.Value, n *node, path string) {
	if err := l.wrongKind(v.Type(), n); err != nil {
		p := l.locate(path, err)
		l.add(p)
		if canBeQuoted(v.Type(), n) {
			v.SetString(n.text)
			l.advised[path] = p
		}
		return
	}
	value := n.text
	if v.Type() == pathType && value != "" && !filepath.IsAbs(value) {
		value = filepath.Join(l.dir, value)
	}
	if err := setText(v, value); err != nil {
		l.problem(path, err)
	}
}

// canBeQuoted reports whether it is to be asked what becomes of a value that is no string if it is
// written as one.
func canBeQuoted(t reflect.Type, n *node) bool {
	return isText(t) && t != secretType && t != pathType && n.kind != mapping && n.kind != list
}

// wrongKind refuses a value that YAML reads as another type than the setting's. What is written
// without quotes and looks like a number is one, even where a name was meant; saying so is better
// than guessing which spelling was meant.
func (l *loader) wrongKind(t reflect.Type, n *node) error {
	want := expected(t)
	switch {
	case n.kind == mapping, n.kind == list:
		return fmt.Errorf("expected %s, got %s", want, n.kind)
	case n.kind == null && isText(t): // `name:` may mean no name, or one still to come
		return fmt.Errorf("expected %s, got nothing: write \"\" if an empty one is meant", want)
	case n.kind == null:
		return fmt.Errorf("expected %s, got nothing: write a value, or leave the key out", want)
	case t == secretType && n.kind != text:
		return fmt.Errorf("expected %s, got %s: write it in quotes", want, n.kind)
	case isText(t) && n.kind != text:
		return fmt.Errorf("expected %s, got %s: write \"%s\"", want, n.kind, n.text)
	case isNumber(t) && n.kind == text, t.Kind() == reflect.Bool && n.kind == text:
		return fmt.Errorf("expected %s, got the string %s", want, quote(n.text))
	}
	return nil
}

func (l *loader) fillStruct(v reflect.Value, n *node, path string) {
	switch n.kind {
	case mapping:
	case null: // "redis:" with every line under it commented out
		return
	default:
		l.problem(path, fmt.Errorf("expected a mapping of settings, got %s", n.kind))
		return
	}
	fields, err := fieldsOf(v.Type())
	if err != nil {
		l.problem(path, err)
		return
	}
	for _, e := range n.entries {
		at := join(path, e.key)
		l.origins[at] = place(e)
		if !l.fillField(v, fields, e, n, path) {
			l.origins[at] = origin{line: e.line, column: e.column}
			l.problem(at, unknownKey(e.key, keysOf(fields)))
		}
	}
}

// place is where a problem with an entry's value is shown: at the value if it is one word, else at
// the key.
func place(e entry) origin {
	if e.value.kind == mapping || e.value.kind == list || e.value.kind == null {
		return origin{line: e.line, column: e.column}
	}
	return origin{line: e.value.line, column: e.value.column}
}

// fillField fills the field that the entry names, and reports whether there is one.
func (l *loader) fillField(v reflect.Value, fields []field, e entry, around *node,
	path string) bool {
	for _, f := range fields {
		one := setting{index: f.index, typ: f.typ}
		switch {
		case f.key == e.key:
			l.fill(one.in(v), e.value, join(path, e.key))
			return true
		case f.fileKey() != "" && f.fileKey() == e.key:
			l.origins[join(path, f.key)] = place(e)
			l.fillSecret(one.in(v), f.key, e, around, path)
			return true
		}
	}
	return false
}

// fillSecret reads the file that a key like password_file names.
func (l *loader) fillSecret(v reflect.Value, key string, e entry, around *node, path string) {
	at := join(path, e.key)
	for _, other := range around.entries {
		if other.key == key {
			l.problem(at, fmt.Errorf("expected %s or %s, got both", key, e.key))
			return
		}
	}
	var name Path
	nv := reflect.ValueOf(&name).Elem()
	// A name that is no string has been reported already, and names no file.
	before := len(l.problems)
	l.fillScalar(nv, e.value, at)
	if len(l.problems) > before {
		return
	}
	if l.withoutSecrets {
		v.Set(reflect.ValueOf(Secret{value: unread, file: string(name)}))
		return
	}
	secret, err := readSecret(string(name))
	if err != nil {
		l.problem(at, err)
		return
	}
	v.Set(reflect.ValueOf(secret))
}

// unread is what a secret holds whose file was not read: long enough for all of them.
const unread = "this secret has not been read by anybody"

func (l *loader) fillList(v reflect.Value, n *node, path string) {
	items := n.items
	switch {
	case n.kind == null:
		l.problem(path, errors.New("expected a list, got nothing: write [] if an empty one is meant"))
		return
	case n.kind != list && (n.kind == mapping || !isScalar(deref(v.Type().Elem()))):
		l.problem(path, fmt.Errorf("expected a list, got %s", n.kind))
		return
	case n.kind != list: // one value is a list of one
		items = []*node{n}
	}
	out := reflect.MakeSlice(v.Type(), len(items), len(items))
	for i, item := range items {
		l.fillNew(out.Index(i), item, fmt.Sprintf("%s[%d]", path, i))
	}
	v.Set(out)
}

func (l *loader) fillMap(v reflect.Value, n *node, path string) {
	if n.kind != mapping {
		l.problem(path, fmt.Errorf("expected a mapping, got %s", n.kind))
		return
	}
	out := reflect.MakeMapWithSize(v.Type(), len(n.entries))
	for _, e := range n.entries {
		at := join(path, e.key)
		l.origins[at] = place(e)
		elem := reflect.New(v.Type().Elem()).Elem()
		l.fillNew(elem, e.value, at)
		out.SetMapIndex(reflect.ValueOf(e.key).Convert(v.Type().Key()), elem)
	}
	v.Set(out)
}

// fillNew fills an element that has just been made.
func (l *loader) fillNew(v reflect.Value, n *node, path string) {
	if v.Kind() == reflect.Struct {
		setDefaults(v.Addr())
	}
	// Outside lists and maps, null leaves a default as it is; here there is none.
	if n.kind == null {
		l.origins[path] = origin{line: n.line, column: n.column}
		l.problem(path, errors.New("expected a value, got nothing"))
		return
	}
	l.fill(v, n, path)
}
