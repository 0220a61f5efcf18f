package strict

import (
	"unicode/utf16"
	"unicode/utf8"
)

// str reads a string from its opening quote.
func (s *scanner) str() (string, error) {
	s.at++
	start := s.at
	for s.at < len(s.text) {
		switch c := s.text[s.at]; {
		case c == '"':
			s.at++
			return s.text[start : s.at-1], nil
		case c == '\\':
			// An escape would give one header two spellings.
			if s.rules.Plain {
				return "", s.fail(ErrNotPlain)
			}
			return s.escaped(start)
		case c < ' ':
			return "", s.fail(ErrSyntax)
		case c < utf8.RuneSelf:
			s.at++
		default:
			if err := s.rune(); err != nil {
				return "", err
			}
		}
	}
	return "", s.fail(ErrSyntax)
}

// rune steps over one character that is not ASCII.
func (s *scanner) rune() error {
	r, size := utf8.DecodeRuneInString(s.text[s.at:])
	if r == utf8.RuneError && size == 1 {
		return s.fail(ErrUTF8)
	}
	s.at += size
	return nil
}

// escaped reads the rest of a string that has an escape at s.at.
func (s *scanner) escaped(start int) (string, error) {
	// Not as much as the text could need: a stranger may have sent it.
	out := append(make([]byte, 0, s.at-start+32), s.text[start:s.at]...)
	for s.at < len(s.text) {
		c := s.text[s.at]
		switch {
		case c == '"':
			s.at++
			return string(out), nil
		case c == '\\':
			r, err := s.escape()
			if err != nil {
				return "", err
			}
			out = utf8.AppendRune(out, r)
		case c < ' ':
			return "", s.fail(ErrSyntax)
		case c < utf8.RuneSelf:
			out = append(out, c)
			s.at++
		default:
			from := s.at
			if err := s.rune(); err != nil {
				return "", err
			}
			out = append(out, s.text[from:s.at]...)
		}
	}
	return "", s.fail(ErrSyntax)
}

var shortEscapes = [256]byte{
	'"':  '"',
	'\\': '\\',
	'/':  '/',
	'b':  '\b',
	'f':  '\f',
	'n':  '\n',
	'r':  '\r',
	't':  '\t',
}

func (s *scanner) escape() (rune, error) {
	s.at++
	c := s.peek()
	if short := shortEscapes[c]; short != 0 {
		s.at++
		return rune(short), nil
	}
	if c != 'u' {
		return 0, s.fail(ErrSyntax)
	}
	s.at++
	r, err := s.hex4()
	if err != nil || !utf16.IsSurrogate(r) {
		return r, err
	}
	// Half of a pair is no character (RFC 8259 section 8.2): readers differ on what it becomes.
	if s.peek() != '\\' {
		return 0, s.fail(ErrUTF8)
	}
	s.at++
	if s.peek() != 'u' {
		return 0, s.fail(ErrUTF8)
	}
	s.at++
	low, err := s.hex4()
	if err != nil {
		return 0, err
	}
	if r = utf16.DecodeRune(r, low); r == utf8.RuneError {
		return 0, s.fail(ErrUTF8)
	}
	return r, nil
}

func (s *scanner) hex4() (r rune, err error) {
	if len(s.text)-s.at < 4 {
		return 0, s.fail(ErrSyntax)
	}
	for range 4 {
		var digit byte
		switch c := s.text[s.at]; {
		case c >= '0' && c <= '9':
			digit = c - '0'
		case c >= 'a' && c <= 'f':
			digit = c - 'a' + 10
		case c >= 'A' && c <= 'F':
			digit = c - 'A' + 10
		default:
			return 0, s.fail(ErrSyntax)
		}
		r = r<<4 | rune(digit)
		s.at++
	}
	return r, nil
}

// number reads a number and keeps its text.
func (s *scanner) number() (string, error) {
	start := s.at
	if s.peek() == '-' {
		s.at++
	}
	// No digit may follow a leading zero, which some readers take for octal.
	if s.peek() == '0' {
		s.at++
	} else if !s.digits() {
		return "", s.fail(ErrSyntax)
	}
	if s.peek() == '.' {
		s.at++
		if !s.digits() {
			return "", s.fail(ErrSyntax)
		}
	}
	if c := s.peek(); c == 'e' || c == 'E' {
		s.at++
		if c := s.peek(); c == '+' || c == '-' {
			s.at++
		}
		if !s.digits() {
			return "", s.fail(ErrSyntax)
		}
	}
	return s.text[start:s.at], nil
}

// digits steps over one digit or more.
func (s *scanner) digits() bool {
	start := s.at
	for c := s.peek(); c >= '0' && c <= '9'; c = s.peek() {
		s.at++
	}
	return s.at > start
}
