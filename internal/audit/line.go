package audit

import (
	"strconv"
	"unicode"
	"unicode/utf16"
	"unicode/utf8"
)

// maxField is how many bytes of a field's value a line keeps.
const maxField = 256

// timeLayout is RFC 3339 with microseconds, always as long.
const timeLayout = "2006-01-02T15:04:05.000000Z07:00"

// appendLine appends the event as one line, with its line break.
func appendLine(b []byte, e *Event) []byte {
	b = append(b, `{"time":"`...)
	b = e.Time.UTC().AppendFormat(b, timeLayout)
	b = append(b, '"')
	for i, f := range e.fields() {
		if i >= alwaysThere && f.value == "" {
			continue
		}
		b = appendField(b, f.key, f.value)
	}
	b = appendNumber(b, "seq", e.Seq)
	b = appendNumber(b, "suppressed", e.Suppressed)
	return append(b, "}\n"...)
}

// appendNumber appends a field, unless it is 0.
func appendNumber(b []byte, key string, n uint64) []byte {
	if n == 0 {
		return b
	}
	b = append(b, ',', '"')
	b = append(b, key...)
	b = append(b, `":`...)
	return strconv.AppendUint(b, n, 10)
}

// alwaysThere is how many fields are written even when empty: event and outcome.
const alwaysThere = 2

func appendField(b []byte, key, value string) []byte {
	b = append(b, ',', '"')
	b = append(b, key...)
	b = append(b, `":"`...)
	b = appendEscaped(b, cut(Redact(cutAt(value, 2*maxField))))
	return append(b, '"')
}

// cut keeps the first maxField bytes.
func cut(s string) string { return cutAt(s, maxField) }

// cutAt keeps the first n bytes, without splitting a character.
func cutAt(s string, n int) string {
	if len(s) <= n {
		return s
	}
	at := n
	for at > n-utf8.UTFMax && !utf8.RuneStart(s[at]) {
		at--
	}
	return s[:at]
}

// appendEscaped appends s as the inside of a JSON string (RFC 8259 section 7). Whatever is not
// printable ASCII is escaped, so that no terminal, no log viewer and no line splitter sees a
// control character in it; an invalid byte becomes U+FFFD.
func appendEscaped(b []byte, s string) []byte {
	for _, r := range s {
		switch {
		case r == '"' || r == '\\':
			b = append(b, '\\', byte(r))
		case r >= ' ' && r <= unicode.MaxASCII && r != 0x7f:
			b = append(b, byte(r))
		case r > 0xffff:
			high, low := utf16.EncodeRune(r)
			b = appendUnit(appendUnit(b, high), low)
		default:
			b = appendUnit(b, r)
		}
	}
	return b
}

func appendUnit(b []byte, r rune) []byte {
	const hex = "0123456789abcdef"
	return append(b, '\\', 'u', hex[r>>12&15], hex[r>>8&15], hex[r>>4&15], hex[r&15])
}
