package strict

import (
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"
)

// What can be wrong with a document; errors.Is tells them apart.
var (
	ErrSyntax    = errors.New("strict: not JSON")
	ErrDuplicate = errors.New("strict: a name stands twice in one object")
	ErrTooDeep   = errors.New("strict: nested too deeply")
	ErrUTF8      = errors.New("strict: not valid UTF-8")
	ErrNotPlain  = errors.New("strict: white space or an escape where none may be")
)

// Rules bounds what Parse accepts.
type Rules struct {
	MaxDepth int // how deep objects and arrays may be nested; the outermost counts 1
	// neither white space between tokens nor escapes in strings: the one spelling that needs no
	// decoding
	Plain bool
}

// Parse reads a document that is one JSON value. Strings without escapes are views of it, not
// copies. Errors name an offset in bytes and never show the document.
func Parse(document string, r Rules) (Value, error) {
	s := scanner{text: document, rules: r}
	v, err := s.value(0)
	if err != nil {
		return Value{}, err
	}
	if err := s.space(); err != nil {
		return Value{}, err
	}
	if s.at != len(document) {
		return Value{}, s.fail(ErrSyntax)
	}
	return v, nil
}

type scanner struct {
	text  string
	at    int
	rules Rules
}

func (s *scanner) fail(err error) error { return fmt.Errorf("%w (at byte %d)", err, s.at) }

// peek returns the next byte, 0 at the end: NUL is no byte of JSON outside of strings, nor,
// unescaped, inside.
func (s *scanner) peek() byte {
	if s.at < len(s.text) {
		return s.text[s.at]
	}
	return 0
}

func (s *scanner) space() error {
	start := s.at
	for c := s.peek(); c == ' ' || c == '\t' || c == '\n' || c == '\r'; c = s.peek() {
		s.at++
	}
	if s.rules.Plain && s.at != start {
		return s.fail(ErrNotPlain)
	}
	return nil
}

// take steps over c, after white space.
func (s *scanner) take(c byte) error {
	if err := s.space(); err != nil {
		return err
	}
	if s.peek() != c {
		return s.fail(ErrSyntax)
	}
	s.at++
	return nil
}

func (s *scanner) value(depth int) (Value, error) {
	if err := s.space(); err != nil {
		return Value{}, err
	}
	switch c := s.peek(); {
	case c == '{':
		return s.collection(depth+1, Object, '}')
	case c == '[':
		return s.collection(depth+1, Array, ']')
	case c == '"':
		text, err := s.str()
		return Value{kind: String, text: text}, err
	case c == '-' || c >= '0' && c <= '9':
		text, err := s.number()
		return Value{kind: Number, text: text}, err
	case c == 't':
		return s.literal("true", Bool)
	case c == 'f':
		return s.literal("false", Bool)
	case c == 'n':
		return s.literal("null", Null)
	}
	return Value{}, s.unexpected()
}

// unexpected tells bad text from bytes that are no text at all.
func (s *scanner) unexpected() error {
	if r, size := utf8.DecodeRuneInString(s.text[s.at:]); r == utf8.RuneError && size == 1 {
		return s.fail(ErrUTF8)
	}
	return s.fail(ErrSyntax)
}

func (s *scanner) literal(word string, k Kind) (Value, error) {
	if len(s.text)-s.at < len(word) || s.text[s.at:s.at+len(word)] != word {
		return Value{}, s.fail(ErrSyntax)
	}
	s.at += len(word)
	if k == Null {
		word = ""
	}
	return Value{kind: k, text: word}, nil
}

// collection reads an object or an array, from its opening bracket.
func (s *scanner) collection(depth int, k Kind, closing byte) (Value, error) {
	if depth > s.rules.MaxDepth {
		return Value{}, s.fail(ErrTooDeep)
	}
	s.at++
	v := Value{kind: k}
	if err := s.space(); err != nil {
		return Value{}, err
	}
	if s.peek() == closing {
		s.at++
		return v, nil
	}
	if k == Object && depth == 1 {
		// There are at most as many members as commas and one; memory is not for a stranger to order.
		v.members = make([]Member, 0, min(strings.Count(s.text, ",")+1, fewMembers))
	}
	var seen names
	for {
		m, err := s.member(depth, k)
		if err != nil {
			return Value{}, err
		}
		if k == Object && !seen.add(v.members, m.Name) {
			return Value{}, s.fail(ErrDuplicate)
		}
		v.members = append(v.members, m)
		if err := s.space(); err != nil {
			return Value{}, err
		}
		if s.peek() == closing {
			s.at++
			return v, nil
		}
		if err := s.take(','); err != nil {
			return Value{}, err
		}
	}
}

func (s *scanner) member(depth int, k Kind) (m Member, err error) {
	if k == Object {
		if err = s.space(); err != nil {
			return m, err
		}
		if s.peek() != '"' {
			return m, s.unexpected()
		}
		if m.Name, err = s.str(); err != nil {
			return m, err
		}
		if err = s.take(':'); err != nil {
			return m, err
		}
	}
	m.Value, err = s.value(depth)
	return m, err
}

// names finds names that stand twice: by looking at the members so far while they are few, else by
// a set.
type names struct{ set map[string]struct{} }

const fewMembers = 24

func (n *names) add(before []Member, name string) bool {
	if len(before) < fewMembers {
		for i := range before {
			if before[i].Name == name {
				return false
			}
		}
		return true
	}
	if n.set == nil {
		n.set = make(map[string]struct{}, 4*fewMembers)
		for i := range before {
			n.set[before[i].Name] = struct{}{}
		}
	}
	if _, twice := n.set[name]; twice {
		return false
	}
	n.set[name] = struct{}{}
	return true
}
