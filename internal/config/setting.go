package config

import (
	"encoding"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"sync"
	"time"
)

// setting is one leaf of a settings struct that a variable or a flag can give: a scalar or a list
// of scalars.
type setting struct {
	path   string   // "redis.address"
	former []string // paths that it had before
	index  []int    // for field
	typ    reflect.Type
	usage  string
	noFlag bool
	noFile bool // a Secret that no file of its own can give
	// the types of the lists' records that it is in, of which one may be in a list of itself again
	records []reflect.Type
}

// settings lists the leaves of a struct type, in its own order.
func settings(t reflect.Type) ([]setting, error) {
	var out []setting
	err := walkFields(t, setting{}, 0, func(s setting) { out = append(out, s) })
	return out, err
}

// walkFields calls leaf for each setting of a struct, which is itself at around.
func walkFields(t reflect.Type, around setting, depth int, leaf func(setting)) error {
	if depth > maxDepth {
		return fmt.Errorf("config: %s contains itself", t)
	}
	fields, err := fieldsOf(t)
	if err != nil {
		return err
	}
	for _, f := range fields {
		s := around.with(f)
		switch {
		case isScalar(s.typ), s.typ.Kind() == reflect.Slice && isScalar(deref(s.typ.Elem())):
			s.noFlag = s.noFlag || isSecret(s.typ) // the process list shows flags
			leaf(s)
		case s.typ.Kind() == reflect.Struct:
			err = walkFields(s.typ, s, depth+1, leaf)
		default:
			err = checkCollection(s, depth)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// with returns the setting that a field of s is.
func (s setting) with(f field) setting {
	return setting{
		path:   join(s.path, f.key),
		index:  append(append([]int(nil), s.index...), f.index...),
		typ:    deref(f.typ),
		usage:  f.usage,
		noFlag: s.noFlag || f.noFlag,
		noFile: f.noFile,

		records: s.records,
	}
}

// checkCollection refuses types that no file can fill, so that a mistake in a struct shows at the
// first Load.
func checkCollection(s setting, depth int) error {
	t := s.typ
	isMap := t.Kind() == reflect.Map && t.Key().Kind() == reflect.String
	if t.Kind() != reflect.Slice && !isMap {
		return fmt.Errorf("config: setting %s has a type that no file can give: %s", s.path, t)
	}
	elem := deref(t.Elem())
	switch {
	case isScalar(elem), slices.Contains(s.records, elem):
		return nil
	case elem.Kind() == reflect.Struct:
		return walkFields(elem, setting{path: s.path + "[]", records: append(slices.Clip(s.records), elem)}, depth+1,
			func(setting) {})
	}
	return checkCollection(setting{path: s.path + "[]", typ: elem, records: s.records}, depth+1)
}

// field is one key of a mapping, as a struct declares it.
type field struct {
	key    string
	index  []int
	typ    reflect.Type
	usage  string
	noFlag bool
	noFile bool
}

// fieldsOf lists a struct's keys; those of inline structs stand among them. The list is shared.
func fieldsOf(t reflect.Type) ([]field, error) {
	if known, ok := fieldsByType.Load(t); ok {
		return known.([]field), nil
	}
	fields, err := listFields(t)
	if err == nil {
		fieldsByType.Store(t, fields)
	}
	return fields, err
}

// fieldsByType are the lists that were made: a file may have thousands of values of one type.
var fieldsByType sync.Map

func listFields(t reflect.Type) ([]field, error) {
	var out []field
	seen := map[string]bool{}
	for i := range t.NumField() {
		f := t.Field(i)
		if !f.IsExported() && !f.Anonymous { // an embedded type may have exported fields itself
			continue
		}
		group, err := fieldsOfOne(t, f)
		if err != nil {
			return nil, err
		}
		for _, g := range group {
			if seen[g.key] {
				return nil, fmt.Errorf("config: %s has two settings named %s", t, g.key)
			}
			seen[g.key] = true
			g.index = append([]int{i}, g.index...)
			out = append(out, g)
		}
	}
	return out, nil
}

func fieldsOfOne(t reflect.Type, f reflect.StructField) ([]field, error) {
	key, options, _ := strings.Cut(f.Tag.Get("yaml"), ",")
	one := field{
		key: key, typ: f.Type, usage: f.Tag.Get("usage"), noFlag: f.Tag.Get("flag") == "-",
		noFile: f.Tag.Get("file") == "-",
	}
	switch {
	case key == "-":
		return nil, nil
	case options == "inline" && f.Type.Kind() == reflect.Struct && f.IsExported():
		shared, err := fieldsOf(f.Type)
		inner := slices.Clone(shared)
		for i := range inner {
			inner[i].noFlag = inner[i].noFlag || one.noFlag
		}
		return inner, err
	case key == "":
		return nil, fmt.Errorf("config: field %s of %s has no yaml tag: name it, or write yaml:\"-\"",
			f.Name, t)
	}
	return []field{one}, nil
}

// in returns the setting's value within v, making what pointers on the way need.
func (s setting) in(v reflect.Value) reflect.Value {
	for _, i := range s.index {
		v = settle(v).Field(i)
	}
	return settle(v)
}

// settle follows pointers, making what they should point to.
func settle(v reflect.Value) reflect.Value {
	for v.Kind() == reflect.Pointer {
		if v.IsNil() {
			v.Set(reflect.New(v.Type().Elem()))
			setDefaults(v)
		}
		v = v.Elem()
	}
	return v
}

func setDefaults(pointer reflect.Value) {
	if d, ok := pointer.Interface().(Defaulter); ok {
		d.SetDefaults()
	}
}

// variable returns the name that a path has in the environment.
func variable(prefix, path string) string {
	return prefix + "_" + strings.ToUpper(strings.NewReplacer(".", "_", "-", "_").Replace(path))
}

// variables returns the names that the setting has in the environment, former ones apart.
func (s setting) variables(prefix string) []string {
	name := variable(prefix, s.path)
	if s.typ == secretType && !s.noFile {
		return []string{name, name + "_FILE"}
	}
	return []string{name}
}

// formerVariables returns the names that the setting once had in the environment.
func (s setting) formerVariables(prefix string) []string {
	var names []string
	for _, path := range s.former {
		names = append(names, variable(prefix, path))
	}
	return names
}

// flag returns the setting's name as a flag, without the dashes in front; "" when it has none.
func (s setting) flag() string {
	if s.noFlag {
		return ""
	}
	return flagName(s.path)
}

// flagName returns the name that a path has as a flag.
func flagName(path string) string { return strings.NewReplacer(".", "-", "_", "-").Replace(path) }

func join(prefix, key string) string {
	if prefix == "" || key == "" {
		return prefix + key
	}
	if key[0] == '[' {
		return prefix + key
	}
	return prefix + "." + key
}

func deref(t reflect.Type) reflect.Type {
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	return t
}

var (
	durationType  = reflect.TypeFor[time.Duration]()
	secretType    = reflect.TypeFor[Secret]()
	pathType      = reflect.TypeFor[Path]()
	unmarshalType = reflect.TypeFor[encoding.TextUnmarshaler]()
)

// isScalar reports whether one text makes a value of type t.
func isScalar(t reflect.Type) bool {
	if t == secretType || reflect.PointerTo(t).Implements(unmarshalType) {
		return true
	}
	switch t.Kind() {
	case reflect.String, reflect.Bool, reflect.Float32, reflect.Float64,
		reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64,
		reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		return true
	}
	return false
}

// isSecret reports whether t is a Secret or a list of them.
func isSecret(t reflect.Type) bool {
	return t == secretType || t.Kind() == reflect.Slice && deref(t.Elem()) == secretType
}

// fileKey returns the key that names a secret's file; "" when the field is no secret.
func (f field) fileKey() string {
	if f.noFile || deref(f.typ) != secretType {
		return ""
	}
	return f.key + "_file"
}

func keysOf(fields []field) []string {
	var keys []string
	for _, f := range fields {
		keys = append(keys, f.key)
		if f.fileKey() != "" {
			keys = append(keys, f.fileKey())
		}
	}
	return keys
}
