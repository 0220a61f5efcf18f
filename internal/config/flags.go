package config

import (
	"encoding"
	"fmt"
	"reflect"
	"strings"
	"time"

	"github.com/spf13/pflag"
)

// BindFlags declares a flag for every setting of dst that is a scalar or a list of scalars:
// redis.address is --redis-address. The values in dst are shown as the defaults, `usage:"..."` tags
// as the help. A field tagged `flag:"-"` and every Secret, which would show in the process list,
// gets none. BindFlags does not change dst; Load does. It panics if dst is no pointer to a struct
// of settings, or if a flag is declared already.
func BindFlags(fs *pflag.FlagSet, dst any) {
	v, err := target(dst)
	if err != nil {
		panic(err)
	}
	all, err := settingsOf(v)
	if err != nil {
		panic(err)
	}
	for _, s := range all {
		if s.flag() == "" {
			continue
		}
		for _, path := range append([]string{s.path}, s.former...) {
			f := fs.VarPF(&flagValue{typ: s.typ, text: show(v, s)}, flagName(path), "", s.usage)
			f.Hidden = path != s.path // a former name is accepted, but not for new users
			if s.typ.Kind() == reflect.Bool {
				f.NoOptDefVal = "true"
			}
		}
	}
}

// flagText returns a flag's value as the environment would spell it, also for flags that BindFlags
// did not declare.
func flagText(value pflag.Value) string {
	if many, ok := value.(pflag.SliceValue); ok {
		return strings.Join(many.GetSlice(), ",")
	}
	return value.String()
}

// flagValue checks a flag when it is parsed; Load reads it. Repeating the flag of a list adds to
// it.
type flagValue struct {
	typ  reflect.Type
	text string
	set  bool
}

func (f *flagValue) Set(s string) error {
	if f.set && f.typ.Kind() == reflect.Slice && !isScalar(f.typ) {
		s = f.text + "," + s
	}
	if err := setAny(reflect.New(f.typ).Elem(), s); err != nil {
		return err
	}
	f.text, f.set = s, true
	return nil
}

func (f *flagValue) String() string { return f.text }

// Type names the value in the help.
func (f *flagValue) Type() string {
	t, many := f.typ, ""
	if !isScalar(t) {
		t, many = deref(t.Elem()), "s"
	}
	switch {
	case t == durationType:
		return "duration" + many
	case t == pathType:
		return "path" + many
	case t.Kind() == reflect.Bool, isNumber(t):
		return t.Kind().String() + many
	}
	return "string" + many
}

// show returns how a setting's present value is spelt.
func show(v reflect.Value, s setting) string {
	for _, i := range s.index {
		for v.Kind() == reflect.Pointer {
			if v.IsNil() { // nothing is made here: the help must not change what it shows
				return ""
			}
			v = v.Elem()
		}
		v = v.Field(i)
	}
	return spell(v)
}

func spell(v reflect.Value) string {
	if v.Kind() == reflect.Pointer {
		if v.IsNil() {
			return ""
		}
		v = v.Elem()
	}
	if !isScalar(v.Type()) {
		items := make([]string, v.Len())
		for i := range items {
			items[i] = spell(v.Index(i))
		}
		return strings.Join(items, ",")
	}
	switch x := v.Interface().(type) {
	case time.Duration:
		return x.String()
	case encoding.TextMarshaler:
		if b, err := x.MarshalText(); err == nil {
			return string(b)
		}
	}
	return fmt.Sprint(v.Interface())
}
