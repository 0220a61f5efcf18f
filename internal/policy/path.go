package policy

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

// PathProblem is why a request target is refused before any route is looked at. The empty one is
// none.
type PathProblem string

// The problems, in words for people.
const (
	BadForm       PathProblem = "the path does not begin with a slash"
	BadSegments   PathProblem = "the path has an empty segment, `.` or `..`"
	BadEncoding   PathProblem = "the path has an encoded delimiter, a backslash, or double or broken percent-encoding"
	BadCharacters PathProblem = "the path has a control character, a space, `#` or bytes that are not UTF-8"
	BadParameters PathProblem = "the path has parameters (`;`), which the route does not permit"
	BadLength     PathProblem = "the path is longer than 8 KiB or has more than 256 segments"
)

// Path is the one spelling of a request's path that routes are matched against.
type Path struct {
	// Value is the part before `?`, percent-decoded once, without path parameters: it begins with a
	// slash, and none of its segments is empty (except a last one, after a slash at the end), `.`
	// or `..`.
	Value string
	// Parameters says that the path had `;`.
	Parameters bool

	mixed bool // Value may have letters other than small ones
}

const (
	maxPath         = 8 << 10 // bytes before `?`
	maxPathSegments = 256
)

// Read takes a request target in origin form (RFC 9112 section 3.2.1), with or without its query.
// It gives the problem when two servers might read that target differently, and then leaves p
// empty. Ordinary paths cost no allocation; Value is then a part of target.
func (p *Path) Read(target string) PathProblem {
	*p = Path{}
	raw, query, _ := strings.Cut(target, "?")
	if strings.IndexByte(query, '#') >= 0 {
		return BadCharacters // RFC 9112 has no fragment in a request target
	}
	if raw == "" || raw[0] != '/' {
		return BadForm
	}
	if len(raw) > maxPath {
		return BadLength
	}
	seen, problem := scan(raw)
	if problem != "" {
		return problem
	}
	value := raw
	if seen.escape {
		if value, problem = decode(raw); problem != "" {
			return problem
		}
	}
	if (seen.escape || seen.wide) && !clean(value) {
		return BadCharacters
	}
	if seen.parameter {
		value = withoutParameters(value)
	}
	if problem := judgeSegments(value); problem != "" {
		return problem
	}
	p.Value, p.Parameters = value, seen.parameter
	p.mixed = seen.capital || seen.wide || seen.escape
	return ""
}

// sighted is what a path's raw bytes need beyond plain matching.
type sighted struct {
	escape    bool // a `%`
	parameter bool // a `;`
	wide      bool // a byte beyond ASCII
	capital   bool // a letter that is not small
}

func scan(raw string) (s sighted, problem PathProblem) {
	for i := range len(raw) {
		switch c := raw[i]; {
		case c == '%':
			s.escape = true
		case c == ';':
			s.parameter = true
		case 'A' <= c && c <= 'Z':
			s.capital = true
		case c >= utf8.RuneSelf:
			s.wide = true
		case c <= ' ', c == 0x7f, c == '#':
			return s, BadCharacters
		case c == '\\':
			return s, BadEncoding
		}
	}
	return s, ""
}

// decode resolves percent-encoding once. It refuses whatever would change the path's structure for
// a server that decodes later, earlier or twice.
func decode(raw string) (string, PathProblem) {
	out := make([]byte, 0, len(raw))
	for i := 0; i < len(raw); i++ {
		if raw[i] != '%' {
			out = append(out, raw[i])
			continue
		}
		if i+2 >= len(raw) || !isHex(raw[i+1]) || !isHex(raw[i+2]) {
			return "", BadEncoding
		}
		c := unhex(raw[i+1])<<4 | unhex(raw[i+2])
		switch c {
		case '/', '\\', ';', '?':
			return "", BadEncoding
		case '#':
			return "", BadCharacters
		}
		out = append(out, c)
		i += 2
	}
	if encodedTwice(out) {
		return "", BadEncoding
	}
	return string(out), ""
}

// encodedTwice finds what a second decoding would change: %2F, or %u002F as some servers have it.
func encodedTwice(decoded []byte) bool {
	for i, c := range decoded {
		if c != '%' || i+1 == len(decoded) {
			continue
		}
		next := decoded[i+1]
		if next == 'u' || next == 'U' || (isHex(next) && i+2 < len(decoded) && isHex(decoded[i+2])) {
			return true
		}
	}
	return false
}

// clean says that value is UTF-8 without control characters.
func clean(value string) bool {
	return utf8.ValidString(value) && strings.IndexFunc(value, unicode.IsControl) < 0
}

// withoutParameters cuts each segment at its first `;`, as servlet containers do.
func withoutParameters(value string) string {
	out := make([]byte, 0, len(value))
	inside := false
	for i := range len(value) {
		switch value[i] {
		case ';':
			inside = true
		case '/':
			inside = false
		}
		if !inside {
			out = append(out, value[i])
		}
	}
	return string(out)
}

// judgeSegments refuses empty segments but for a last one, and those that climb.
func judgeSegments(value string) PathProblem {
	count := 0
	for rest := value[1:]; rest != ""; {
		var segment string
		segment, rest, _ = strings.Cut(rest, "/")
		if segment == "" || segment == "." || segment == ".." {
			return BadSegments
		}
		if count++; count > maxPathSegments {
			return BadLength
		}
	}
	return ""
}

func isHex(c byte) bool {
	return '0' <= c && c <= '9' || 'a' <= c && c <= 'f' || 'A' <= c && c <= 'F'
}

func unhex(c byte) byte {
	switch {
	case c <= '9':
		return c - '0'
	case c <= 'F':
		return c - 'A' + 10
	}
	return c - 'a' + 10
}
