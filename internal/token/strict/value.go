package strict

import "strings"

// Kind is the type of a JSON value.
type Kind uint8

// The kinds. The zero Kind is that of no value at all.
const (
	Absent Kind = iota
	Null
	Bool
	Number
	String
	Array
	Object
)

// String returns the kind's name in JSON's own words.
func (k Kind) String() string {
	return [...]string{
		"nothing", "null", "a boolean", "a number", "a string", "an array", "an object",
	}[k]
}

// Value is one JSON value.
type Value struct {
	kind    Kind
	text    string
	members []Member
}

// Member is one member of an object, or one element of an array, which has no name.
type Member struct {
	Name  string
	Value Value
}

// Kind returns the value's type.
func (v Value) Kind() Kind { return v.kind }

// Text is a string's value, decoded, or a number's own text, or "true" or "false"; "" for all else.
func (v Value) Text() string { return v.text }

// Members returns an object's members or an array's elements, in their order.
func (v Value) Members() []Member { return v.members }

// Member returns an object's member by its name.
func (v Value) Member(name string) (Value, bool) {
	if v.kind != Object {
		return Value{}, false
	}
	for i := range v.members {
		if v.members[i].Name == name {
			return v.members[i].Value, true
		}
	}
	return Value{}, false
}

// Lookup returns what name stands for: with a leading slash, a path through nested objects (RFC
// 6901, without array indexes); else the member of that very name.
func (v Value) Lookup(name string) (Value, bool) {
	rest, isPath := strings.CutPrefix(name, "/")
	if !isPath {
		return v.Member(name)
	}
	for more := true; more; {
		var step string
		step, rest, more = strings.Cut(rest, "/")
		next, ok := v.Member(unescapePointer(step))
		if !ok {
			return Value{}, false
		}
		v = next
	}
	return v, true
}

func unescapePointer(s string) string {
	if strings.IndexByte(s, '~') < 0 {
		return s
	}
	return strings.ReplaceAll(strings.ReplaceAll(s, "~1", "/"), "~0", "~")
}
