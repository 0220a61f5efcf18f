package relay

import (
	"bufio"
	"errors"
	"io"
	"slices"
	"strconv"
	"strings"
	"testing"
)

func read(text string) ([]string, error) {
	return readCommand(bufio.NewReaderSize(strings.NewReader(text), 16))
}

func TestACommandIsReadInItsOneSpelling(t *testing.T) {
	got, err := read("*2\r\n$4\r\nPING\r\n$0\r\n\r\n")
	if err != nil || !slices.Equal(got, []string{"PING", ""}) {
		t.Errorf("got %q, %v", got, err)
	}
	for name, text := range map[string]string{
		"inline":                    "PING\r\n",
		"no array":                  "$4\r\nPING\r\n",
		"no words":                  "*0\r\n",
		"a nil array":               "*-1\r\n",
		"a nil string":              "*1\r\n$-1\r\n",
		"too many words":            "*17\r\n",
		"too long a word":           "*1\r\n$2049\r\n",
		"a sign":                    "*+1\r\n$4\r\nPING\r\n",
		"a leading zero":            "*01\r\n$4\r\nPING\r\n",
		"no number":                 "*\r\n$4\r\nPING\r\n",
		"a number that overflows":   "*18446744073709551617\r\n",
		"a line without its return": "*1\n$4\r\nPING\r\n",
		"a blank":                   "*1 \r\n$4\r\nPING\r\n",
		"a line without an end":     strings.Repeat("*", 1<<20),
		"a longer word than said":   "*1\r\n$3\r\nPING\r\n",
		"another kind of word":      "*1\r\n:4\r\n",
		"an array in it":            "*1\r\n*1\r\n$4\r\nPING\r\n",
		"TLS":                       "\x16\x03\x01\x02\x00\x01\x00",
		"HTTP":                      "GET / HTTP/1.1\r\n",
	} {
		if got, err := read(text); !errors.Is(err, errCommand) {
			t.Errorf("%s: got %q, %v, want errCommand", name, got, err)
		}
	}
	if _, err := read("*1\r\n$4\r\nPI"); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("cut off: got %v", err)
	}
}

func FuzzReadCommand(f *testing.F) {
	for _, seed := range []string{
		"*1\r\n$4\r\nPING\r\n", "*2\r\n$4\r\nPING\r\n$0\r\n\r\n", "*0\r\n", "PING\r\n", "*1\r\n$-1\r\n",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		words, err := read(text)
		if err != nil {
			return
		}
		again := "*" + strconv.Itoa(len(words)) + "\r\n"
		for _, w := range words {
			again += "$" + strconv.Itoa(len(w)) + "\r\n" + w + "\r\n"
		}
		if !strings.HasPrefix(text, again) {
			t.Errorf("%q was read as %q, whose one spelling is %q", text, words, again)
		}
	})
}

func TestAnAnswerOfAnotherFormIsNotPassedOn(t *testing.T) {
	got, err := appendValue(nil, []any{"a\r\n", int64(-1), nil, []any{}})
	if want := "*4\r\n$3\r\na\r\n\r\n:-1\r\n$-1\r\n*0\r\n"; err != nil || string(got) != want {
		t.Errorf("got %q, %v, want %q", got, err, want)
	}
	for _, v := range []any{errors.New("READONLY"), 1.5, true, []any{map[any]any{}}} {
		if got, err := appendValue(nil, v); err == nil {
			t.Errorf("%v is passed on as %q", v, got)
		}
	}
}
