package josetest

import (
	"encoding/json"
	"strconv"
	"strings"
	"time"
)

// Object is a JSON object that may be anything that honest writers cannot make: names may stand
// twice, values are raw text.
type Object []Member

// Member is a name, as it stands between its quotes, and the raw text of its value.
type Member struct{ Name, Raw string }

// Text is a string's raw text.
func Text(s string) string {
	b, err := json.Marshal(s)
	must(err)
	return string(b)
}

// Seconds is a date's raw text.
func Seconds(t time.Time) string { return strconv.FormatInt(t.Unix(), 10) }

// With returns a copy with another value for name, which is added when absent.
func (o Object) With(name, raw string) Object {
	next, found := append(Object(nil), o...), false
	for i := range next {
		if next[i].Name == name {
			next[i].Raw, found = raw, true
		}
	}
	if !found {
		return next.And(name, raw)
	}
	return next
}

// And returns a copy with one more member at the end, also if there is one of that name.
func (o Object) And(name, raw string) Object {
	return append(append(Object(nil), o...), Member{name, raw})
}

// Before returns a copy with one more member at the beginning.
func (o Object) Before(name, raw string) Object {
	return append(Object{{name, raw}}, o...)
}

// Without returns a copy without name.
func (o Object) Without(name string) Object {
	var next Object
	for _, m := range o {
		if m.Name != name {
			next = append(next, m)
		}
	}
	return next
}

// Get returns a member's raw text; "" when it is absent.
func (o Object) Get(name string) string {
	for _, m := range o {
		if m.Name == name {
			return m.Raw
		}
	}
	return ""
}

// JSON is the object's text.
func (o Object) JSON() string {
	parts := make([]string, len(o))
	for i, m := range o {
		parts[i] = `"` + m.Name + `":` + m.Raw
	}
	return "{" + strings.Join(parts, ",") + "}"
}

// ParseObject reads an object's members in their order, top level only.
func ParseObject(text string) Object {
	d := json.NewDecoder(strings.NewReader(text))
	_, err := d.Token()
	must(err)
	var o Object
	for d.More() {
		name, err := d.Token()
		must(err)
		var raw json.RawMessage
		must(d.Decode(&raw))
		o = append(o, Member{name.(string), string(raw)})
	}
	return o
}
