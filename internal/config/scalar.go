package config

import (
	"encoding"
	"errors"
	"fmt"
	"net/netip"
	"reflect"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// setText sets v, a scalar, to the value that s spells. The error says what was expected and,
// unless v is a secret, what came.
func setText(v reflect.Value, s string) error {
	t := v.Type()
	if t == secretType { // before anything whose error quotes what came
		v.Set(reflect.ValueOf(NewSecret(s)))
		return nil
	}
	if u, ok := v.Addr().Interface().(encoding.TextUnmarshaler); ok {
		if err := u.UnmarshalText([]byte(s)); err != nil {
			return fmt.Errorf("expected %s, got %s", expected(t), quote(s))
		}
		return nil
	}
	if err := setBasic(v, s); err != nil {
		return fmt.Errorf("expected %s, got %s", expected(t), quote(s))
	}
	return nil
}

var errSpelling = errors.New("config: not spelled as this type is")

func setBasic(v reflect.Value, s string) error {
	t := v.Type()
	switch {
	case t == durationType:
		d, err := time.ParseDuration(s)
		if err == nil {
			v.SetInt(int64(d))
		}
		return err
	case t.Kind() == reflect.String:
		v.SetString(s)
		return nil
	case t.Kind() == reflect.Bool:
		if s != "true" && s != "false" { // no yes, 1 or T: the file takes none of them either
			return errSpelling
		}
		v.SetBool(s == "true")
		return nil
	}
	return setNumber(v, s)
}

func setNumber(v reflect.Value, s string) error {
	bits := v.Type().Bits()
	switch {
	case v.CanFloat():
		f, err := strconv.ParseFloat(s, bits)
		if err != nil || strings.ContainsAny(s, "xXpP_nN") {
			return errSpelling
		}
		v.SetFloat(f)
		return nil
	case len(s) > 1 && strings.HasPrefix(strings.TrimLeft(s, "+-"), "0"), strings.HasPrefix(s, "+"):
		return errSpelling // octal to some readers, decimal to others
	case v.CanInt():
		i, err := strconv.ParseInt(s, 10, bits)
		if err == nil {
			v.SetInt(i)
		}
		return err
	}
	u, err := strconv.ParseUint(s, 10, bits)
	if err == nil {
		v.SetUint(u)
	}
	return err
}

// expected returns in words what a value of type t looks like. A type that reads text can say it
// itself, by a method Expected() string: "one of allow, deny".
func expected(t reflect.Type) string {
	switch v := reflect.New(t).Interface().(type) {
	case interface{ Expected() string }:
		return v.Expected()
	case *netip.Addr:
		return "an IP address"
	case *netip.AddrPort:
		return "an IP address and a port"
	case *netip.Prefix:
		return `an address range such as "10.0.0.0/8"`
	}
	switch {
	case t == durationType:
		return `a duration such as "10s"`
	case t == pathType:
		return "a path"
	case t == secretType:
		return "a string"
	case reflect.PointerTo(t).Implements(unmarshalType):
		return "a value that " + t.Name() + " can be"
	}
	switch t.Kind() {
	case reflect.String:
		return "a string"
	case reflect.Bool:
		return "true or false"
	case reflect.Float32, reflect.Float64:
		return "a number"
	case reflect.Int, reflect.Int64:
		return "a whole number"
	case reflect.Uint, reflect.Uint64:
		return "a whole number of 0 or more"
	}
	return fmt.Sprintf("a whole number that fits %s", t.Kind())
}

// isText reports whether a value of type t must be written as a string.
func isText(t reflect.Type) bool {
	return t.Kind() == reflect.String && !reflect.PointerTo(t).Implements(unmarshalType) ||
		t == secretType
}

func isNumber(t reflect.Type) bool {
	if t == durationType || reflect.PointerTo(t).Implements(unmarshalType) {
		return false
	}
	return t.Kind() >= reflect.Int && t.Kind() <= reflect.Float64
}

// maxQuote is how many bytes of a wrong value an error repeats.
const maxQuote = 64

func quote(s string) string {
	if len(s) <= maxQuote {
		return strconv.Quote(s)
	}
	cut := maxQuote
	for cut > 0 && !utf8.RuneStart(s[cut]) {
		cut--
	}
	return strconv.Quote(s[:cut]) + "..."
}

// setList sets v, a list of scalars, to the values in s, which commas separate.
func setList(v reflect.Value, s string) error {
	out := reflect.MakeSlice(v.Type(), 0, 0)
	for item := range strings.SplitSeq(s, ",") {
		item = strings.TrimSpace(item)
		if item == "" && strings.TrimSpace(s) == "" { // no text is no items, not an empty one
			break
		}
		elem := reflect.New(v.Type().Elem()).Elem()
		if err := setText(settle(elem), item); err != nil {
			return err
		}
		out = reflect.Append(out, elem)
	}
	v.Set(out)
	return nil
}

// setAny sets v, a scalar or a list of scalars, to the value that s spells.
func setAny(v reflect.Value, s string) error {
	if isScalar(v.Type()) {
		return setText(v, s)
	}
	return setList(v, s)
}
