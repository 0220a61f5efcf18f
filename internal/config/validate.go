package config

import (
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
)

// validate asks v and everything in it, inside first, and notes what they say. What is said about a
// value that could not be read is left out: it follows from what is noted already.
func (l *loader) validate(v reflect.Value) {
	l.validateIn(v, "", slices.Clone(l.problems))
}

// validateIn validates the value at path. unread are the problems of values that could not be read.
func (l *loader) validateIn(v reflect.Value, path string, unread []*Problem) {
	if v.CanAddr() {
		if p, ok := v.Addr().Interface().(Preparer); ok {
			p.Prepare()
		}
	}
	switch v.Kind() {
	case reflect.Pointer:
		if !v.IsNil() {
			l.validateIn(v.Elem(), path, unread)
		}
		return
	case reflect.Struct:
		l.validateFields(v, path, unread)
	case reflect.Slice:
		for i := range v.Len() {
			l.validateIn(v.Index(i), fmt.Sprintf("%s[%d]", path, i), unread)
		}
	case reflect.Map:
		l.validateMap(v, path, unread)
	}
	l.ask(v, path, unread) // after what is in it, so that the innermost reason comes first
}

func (l *loader) validateFields(v reflect.Value, path string, unread []*Problem) {
	if isScalar(v.Type()) {
		return
	}
	fields, err := fieldsOf(v.Type())
	if err != nil {
		return // a struct that is not made of settings
	}
	_, answers := v.Addr().Interface().(Validator)
	for _, i := range inline(v.Type()) {
		l.validateFields(v.Field(i), path, unread)
		if !answers { // else v is asked, whose settings these are
			l.ask(v.Field(i), path, unread)
		}
	}
	for _, f := range fields {
		if len(f.index) == 1 {
			l.validateIn(v.Field(f.index[0]), join(path, f.key), unread)
		}
	}
}

// inline lists the fields whose settings stand among v's own.
func inline(t reflect.Type) []int {
	var out []int
	for i := range t.NumField() {
		f := t.Field(i)
		if f.IsExported() && f.Tag.Get("yaml") == ",inline" && f.Type.Kind() == reflect.Struct {
			out = append(out, i)
		}
	}
	return out
}

func (l *loader) validateMap(v reflect.Value, path string, unread []*Problem) {
	keys := v.MapKeys()
	slices.SortFunc(keys,
		func(a, b reflect.Value) int { return strings.Compare(a.String(), b.String()) })
	for _, k := range keys {
		// A map's values have no address, and Validate may want a pointer.
		elem := reflect.New(v.Type().Elem()).Elem()
		elem.Set(v.MapIndex(k))
		l.validateIn(elem, join(path, k.String()), unread)
	}
}

// ask notes what the value at path has to say of itself.
func (l *loader) ask(v reflect.Value, path string, unread []*Problem) {
	asked, ok := v.Addr().Interface().(Validator)
	if !ok {
		return
	}
	for _, err := range flatten(asked.Validate()) {
		at := path
		var about *settingError
		if errors.As(err, &about) {
			at = join(path, about.path)
		}
		// The place is reported beside the error; in its words it would stand twice.
		if own, direct := err.(*settingError); direct {
			err = own.err
		}
		switch p := l.advised[at]; {
		case p != nil && l.origins[at].source == "":
			p.Err = err // the advice would not help
			delete(l.advised, at)
		case !blames(unread, at):
			l.problem(at, err)
		}
	}
}
