package strict_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/sallyport/sallyport/internal/token/strict"
)

var (
	lenient = strict.Rules{MaxDepth: 16}
	plain   = strict.Rules{MaxDepth: 16, Plain: true}
)

func TestDocumentsWithMoreThanOneMeaningAreRefused(t *testing.T) {
	for document, want := range map[string]error{
		``:                             strict.ErrSyntax,
		` `:                            strict.ErrSyntax,
		`{`:                            strict.ErrSyntax,
		`{"a"}`:                        strict.ErrSyntax,
		`{"a":}`:                       strict.ErrSyntax,
		`{"a":1,}`:                     strict.ErrSyntax,
		`{,"a":1}`:                     strict.ErrSyntax,
		`{"a" 1}`:                      strict.ErrSyntax,
		`{a:1}`:                        strict.ErrSyntax,
		`{'a':1}`:                      strict.ErrSyntax,
		`{"a":1}{}`:                    strict.ErrSyntax,
		`{"a":1}x`:                     strict.ErrSyntax,
		"{}\x00":                       strict.ErrSyntax,
		"\xef\xbb\xbf{}":               strict.ErrSyntax,
		`[1,]`:                         strict.ErrSyntax,
		`[1 2]`:                        strict.ErrSyntax,
		`[`:                            strict.ErrSyntax,
		`]`:                            strict.ErrSyntax,
		`nul`:                          strict.ErrSyntax,
		`nullx`:                        strict.ErrSyntax,
		`True`:                         strict.ErrSyntax,
		`NaN`:                          strict.ErrSyntax,
		`-`:                            strict.ErrSyntax,
		`-x`:                           strict.ErrSyntax,
		`01`:                           strict.ErrSyntax,
		`-01`:                          strict.ErrSyntax,
		`1.`:                           strict.ErrSyntax,
		`.5`:                           strict.ErrSyntax,
		`1e`:                           strict.ErrSyntax,
		`1e+`:                          strict.ErrSyntax,
		`+1`:                           strict.ErrSyntax,
		`0x10`:                         strict.ErrSyntax,
		`"a`:                           strict.ErrSyntax,
		`"a\`:                          strict.ErrSyntax,
		`"\x41"`:                       strict.ErrSyntax,
		`"\u00g0"`:                     strict.ErrSyntax,
		`"\u00"`:                       strict.ErrSyntax,
		`"\u`:                          strict.ErrSyntax,
		"\"a\nb\"":                     strict.ErrSyntax,
		"\"a\x00b\"":                   strict.ErrSyntax,
		"\"\\n\x00\"":                  strict.ErrSyntax,
		"{\"a\":1,/**/\"b\":2}":        strict.ErrSyntax,
		"\v1":                          strict.ErrSyntax,
		"\u00a01":                      strict.ErrSyntax,
		"\"\xff\"":                     strict.ErrUTF8,
		"\"\xc0\xaf\"":                 strict.ErrUTF8,
		"\"\xed\xa0\x80\"":             strict.ErrUTF8,
		"\"\\n\xf4\x90\x80\x80\"":      strict.ErrUTF8,
		"\xff":                         strict.ErrUTF8,
		`"\ud800"`:                     strict.ErrUTF8,
		`"\udc00"`:                     strict.ErrUTF8,
		`"\ud800\ud800"`:               strict.ErrUTF8,
		`"\ud800x"`:                    strict.ErrUTF8,
		`"\ud800\n"`:                   strict.ErrUTF8,
		`{"a":1,"a":1}`:                strict.ErrDuplicate,
		`{"a":1,"\u0061":1}`:           strict.ErrDuplicate,
		`[{"x":{"a":1,"b":2,"a":3}}]`:  strict.ErrDuplicate,
		`{"":1,"":2}`:                  strict.ErrDuplicate,
		many(30, "") + `,"n3":1}`:      strict.ErrDuplicate,
		many(300, "") + `,"n299":1}`:   strict.ErrDuplicate,
		strings.Repeat("[", 17):        strict.ErrTooDeep,
		strings.Repeat(`{"a":`, 17):    strict.ErrTooDeep,
		strings.Repeat("[", 1_000_000): strict.ErrTooDeep,
		strings.Repeat(`[{"a":`, 9):    strict.ErrTooDeep,
	} {
		_, err := strict.Parse(document, lenient)
		if !errors.Is(err, want) {
			t.Errorf("%.60q: expected %v, got %v", document, want, err)
		}
	}
}

// many is an object with n members, and then closing.
func many(n int, closing string) string {
	names := make([]string, n)
	for i := range names {
		names[i] = fmt.Sprintf(`"n%d":1`, i)
	}
	return "{" + strings.Join(names, ",") + closing
}

func TestPlainMeansOneSpelling(t *testing.T) {
	for _, document := range []string{
		` {}`, `{} `, "{}\n", `{ }`, `{"a": 1}`, `{"a" :1}`, `{"a":1 ,"b":2}`, `{"a":1, "b":2}`, `[ 1]`,
		`[1 ]`, `"\u0061"`, `"\/"`, `{"\u0061":1}`, `"a\n"`,
	} {
		if _, err := strict.Parse(document, plain); !errors.Is(err, strict.ErrNotPlain) {
			t.Errorf("%q: expected %v, got %v", document, strict.ErrNotPlain, err)
		}
		if _, err := strict.Parse(document, lenient); err != nil {
			t.Errorf("%q: refused where white space and escapes may be: %v", document, err)
		}
	}
	if _, err := strict.Parse(`{"a":[1,-2.5e-7,"ä",true,false,null,{}],"b":""}`, plain); err != nil {
		t.Errorf("refused a plain document: %v", err)
	}
}

func TestValuesAreKeptAsTheyStand(t *testing.T) {
	v, err := strict.Parse(
		` {"s":"a\"\\\/\b\f\n\r\t\u00e4\ud83d\ude00ä😀","n":-12.50e+3,"big":123456789012345678901234567890,"t":true,"f":false,"z":null,"l":[1,"x",[]],"o":{"a/b":{"m~n":1}},"e":""} `,
		lenient,
	)
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]struct {
		kind strict.Kind
		text string
	}{
		"s": {
			strict.String, "a\"\\/\b\f\n\r\tä😀ä😀",
		}, "n": {strict.Number, "-12.50e+3"}, "big": {strict.Number, "123456789012345678901234567890"},
		"t": {strict.Bool, "true"}, "f": {strict.Bool, "false"}, "z": {strict.Null, ""},
		"e":            {strict.String, ""},
		"/o/a~1b/m~0n": {strict.Number, "1"}, "/t": {strict.Bool, "true"},
	} {
		got, ok := v.Lookup(name)
		if !ok || got.Kind() != want.kind || got.Text() != want.text {
			t.Errorf("%s: expected %v %q, got %v %q", name, want.kind, want.text, got.Kind(), got.Text())
		}
	}
	list, _ := v.Member("l")
	if len(list.Members()) != 3 || list.Members()[1].Value.Text() != "x" {
		t.Errorf("the list came back as %v", list.Members())
	}
	for _, absent := range []string{
		"x", "", "/x", "/o/a", "/o/a~1b/x", "/t/x", "/l/0", "/", "o/a~1b", "/o/a~1b/m~0n/",
	} {
		if got, ok := v.Lookup(absent); ok {
			t.Errorf("%q: found %v", absent, got.Kind())
		}
	}
}

func TestNamesThatStandOnceAreNoDuplicates(t *testing.T) {
	for _, n := range []int{1, 23, 24, 25, 26, 400} {
		v, err := strict.Parse(many(n, "}"), lenient)
		if err != nil || len(v.Members()) != n {
			t.Errorf("%d names: %v", n, err)
		}
	}
}

// FuzzParse holds the reader against encoding/json: what we accept it accepts, with the same
// values; what only it accepts has a name twice, is nested too deeply, or is not UTF-8.
func FuzzParse(f *testing.F) {
	for _, seed := range []string{
		`{"a":[1,2.5e3,"x\u00e4",{"b":null}],"c":true}`, `{"a":1,"a":2}`, `"\ud83d\ude00"`, `"\ud800"`,
		`[[[[1]]]]`, ` { } `, `-0`, "\"\xff\"", `{"a":1,"\u0061":2}`,
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, document string) {
		v, err := strict.Parse(document, lenient)
		if err == nil {
			d := json.NewDecoder(strings.NewReader(document))
			d.UseNumber()
			var want any
			if jsonErr := d.Decode(&want); jsonErr != nil || !json.Valid([]byte(document)) {
				t.Fatalf("accepted %q, encoding/json does not: %v", document, jsonErr)
			}
			same(t, document, v, want)
		} else if json.Valid([]byte(document)) && errors.Is(err, strict.ErrSyntax) {
			t.Fatalf("refused %q, encoding/json does not: %v", document, err)
		} else if errors.Is(err, strict.ErrUTF8) && utf8.ValidString(document) && !strings.Contains(document, `\u`) {
			t.Fatalf("refused %q as no UTF-8", document)
		}
		if p, plainErr := strict.Parse(document, plain); plainErr == nil {
			if err != nil {
				t.Fatalf("plain, and refused otherwise: %q: %v", document, err)
			}
			if got := write(p); got != document {
				t.Fatalf("plain %q is written %q", document, got)
			}
		}
	})
}

func same(t *testing.T, document string, got strict.Value, want any) {
	t.Helper()
	ok := false
	switch w := want.(type) {
	case nil:
		ok = got.Kind() == strict.Null
	case bool:
		ok = got.Kind() == strict.Bool && got.Text() == map[bool]string{true: "true", false: "false"}[w]
	case json.Number:
		ok = got.Kind() == strict.Number && got.Text() == w.String()
	case string:
		ok = got.Kind() == strict.String && got.Text() == w
	case []any:
		ok = got.Kind() == strict.Array && len(got.Members()) == len(w)
		for i := range w {
			same(t, document, got.Members()[i].Value, w[i])
		}
	case map[string]any:
		ok = got.Kind() == strict.Object && len(got.Members()) == len(w)
		for _, m := range got.Members() {
			same(t, document, m.Value, w[m.Name])
		}
	}
	if !ok {
		t.Fatalf("%q: read %v %q, encoding/json %#v", document, got.Kind(), got.Text(), want)
	}
}

// write returns the one plain spelling of a value.
func write(v strict.Value) string {
	switch v.Kind() {
	case strict.Null:
		return "null"
	case strict.String:
		return `"` + v.Text() + `"`
	case strict.Array, strict.Object:
		var parts []string
		for _, m := range v.Members() {
			part := write(m.Value)
			if v.Kind() == strict.Object {
				part = `"` + m.Name + `":` + part
			}
			parts = append(parts, part)
		}
		if v.Kind() == strict.Array {
			return "[" + strings.Join(parts, ",") + "]"
		}
		return "{" + strings.Join(parts, ",") + "}"
	}
	return v.Text()
}
