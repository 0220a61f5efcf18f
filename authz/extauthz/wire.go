package extauthz

import (
	"unsafe"

	"google.golang.org/protobuf/encoding/protowire"
)

// fields goes over the fields of one protobuf message, of which only those with a length are of
// interest here.
type fields struct {
	rest      []byte
	malformed bool

	number protowire.Number
	value  []byte // the content of a length-delimited field, nil for others
}

// next goes to the next field. It returns false at the end, and where the message is malformed.
// Groups, which no message of Envoy's has, are refused.
func (f *fields) next() bool {
	if len(f.rest) == 0 || f.malformed {
		return false
	}
	number, kind, n := protowire.ConsumeTag(f.rest)
	if n < 0 {
		return f.stop()
	}
	f.rest, f.number, f.value = f.rest[n:], number, nil
	switch kind {
	case protowire.BytesType:
		f.value, n = protowire.ConsumeBytes(f.rest)
	case protowire.VarintType, protowire.Fixed32Type, protowire.Fixed64Type:
		n = protowire.ConsumeFieldValue(number, kind, f.rest)
	default: // groups
		return f.stop()
	}
	if n < 0 {
		return f.stop()
	}
	f.rest = f.rest[n:]
	return true
}

func (f *fields) stop() bool {
	f.malformed = true
	return false
}

// has reports whether the field is the one of that number, with a content.
func (f *fields) has(number protowire.Number) bool { return f.number == number && f.value != nil }

// view returns bytes as a string without copying them. It is good for as long as nobody changes
// them.
func view(b []byte) string { return unsafe.String(unsafe.SliceData(b), len(b)) }
