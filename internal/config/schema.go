package config

import (
	"encoding/json"
	"fmt"
	"reflect"
	"strings"
)

// Schema returns a JSON Schema (draft 2020-12) of the files that Load fills dst from, a pointer to a
// struct that holds the defaults: for editors, which complete and check by it while somebody writes.
// What it refuses, Load refuses, but for settings by former names; what only Validate methods know,
// it does not.
func Schema(dst any, title string) ([]byte, error) {
	v, err := target(dst)
	if err != nil {
		return nil, err
	}
	s := schema{records: map[string]any{}, names: map[reflect.Type]string{}}
	root, err := s.object(v.Type(), v)
	if err != nil {
		return nil, err
	}
	root["$schema"], root["title"] = "https://json-schema.org/draft/2020-12/schema", title
	root["$defs"] = s.records
	return json.MarshalIndent(root, "", "  ")
}

// schema collects the types of lists' and maps' records, of which one may be in a list of itself.
type schema struct {
	records map[string]any
	names   map[reflect.Type]string
}

// object returns the schema of a struct's mapping. v holds its defaults; it is not valid where there
// are none to show.
func (s *schema) object(t reflect.Type, v reflect.Value) (map[string]any, error) {
	fields, err := fieldsOf(t)
	if err != nil {
		return nil, err
	}
	properties := map[string]any{}
	for _, f := range fields {
		var value reflect.Value
		if v.IsValid() {
			value = v.FieldByIndex(f.index)
		}
		one, err := s.of(f.typ, value)
		if err != nil {
			return nil, err
		}
		if f.usage != "" {
			one["description"] = f.usage
		}
		properties[f.key] = one
		if key := f.fileKey(); key != "" {
			properties[key] = map[string]any{
				"type": "string", "description": "the file that holds " + f.key,
			}
		}
	}
	// With every line under it commented out, a mapping is nothing, and its settings stay as they are.
	return map[string]any{
		"type": []string{"object", "null"}, "properties": properties, "additionalProperties": false,
	}, nil
}

// of returns the schema of a value, with its default if there is one to show.
func (s *schema) of(t reflect.Type, v reflect.Value) (one map[string]any, err error) {
	if t.Kind() == reflect.Pointer {
		return s.of(t.Elem(), reflect.Value{}) // of what may be absent there is no default
	}
	switch {
	case t == valueType:
		return map[string]any{}, nil
	case isScalar(t):
		one = map[string]any{"type": scalarTypes(t)}
		if v.IsValid() && t != secretType && !v.IsZero() {
			one["default"] = asJSON(v)
		}
		return one, nil
	case t.Kind() == reflect.Struct:
		return s.object(t, v)
	}
	var items map[string]any
	if elem := deref(t.Elem()); elem.Kind() == reflect.Struct && !isScalar(elem) {
		items, err = s.record(elem)
	} else {
		items, err = s.of(elem, reflect.Value{})
	}
	switch {
	case err != nil:
		return nil, err
	case t.Kind() == reflect.Map:
		return map[string]any{"type": "object", "additionalProperties": items}, nil
	case isScalar(deref(t.Elem())): // one value is a list of one
		return map[string]any{"anyOf": []any{map[string]any{"type": "array", "items": items}, items}}, nil
	}
	return map[string]any{"type": "array", "items": items}, nil
}

// record returns a reference to the schema of a struct in a list or map.
func (s *schema) record(t reflect.Type) (map[string]any, error) {
	name, known := s.names[t]
	if !known {
		name = strings.NewReplacer(".", "_", "*", "").Replace(t.String())
		for s.records[name] != nil { // two packages may have the same names
			name += "_"
		}
		s.names[t], s.records[name] = name, map[string]any{} // before its fields, which may be in it
		defaults := reflect.New(t)
		setDefaults(defaults)
		one, err := s.object(t, defaults.Elem())
		if err != nil {
			return nil, err
		}
		one["type"] = "object"
		s.records[name] = one
	}
	return map[string]any{"$ref": "#/$defs/" + name}, nil
}

// scalarTypes are what YAML may read a value as that Load takes.
func scalarTypes(t reflect.Type) []string {
	switch {
	case isText(t):
		return []string{"string"}
	case isNumber(t) && t.Kind() < reflect.Float32:
		return []string{"integer"}
	case isNumber(t):
		return []string{"number"}
	case t.Kind() == reflect.Bool && !reflect.PointerTo(t).Implements(unmarshalType):
		return []string{"boolean"}
	}
	return []string{"string", "number", "boolean"} // a duration, or what reads its own text
}

// asJSON returns a default as a file would have it.
func asJSON(v reflect.Value) any {
	if scalarTypes(v.Type())[0] == "string" {
		return spell(v)
	}
	return json.RawMessage(fmt.Sprint(v.Interface()))
}
