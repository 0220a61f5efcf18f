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
	if f.short() {
		return true
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

// short goes to the next field, if it is one with a length and its tag and length are a byte each,
// or the length two: as nearly all are, and protowire takes three calls for each.
func (f *fields) short() bool {
	b := f.rest
	if len(b) < 3 || b[0]&0x87 != byte(protowire.BytesType) || b[0] < 8 {
		return false
	}
	begin, size := 2, int(b[1])
	if size >= 0x80 {
		begin, size = 3, size&0x7f|int(b[2])<<7
	}
	if size >= 1<<14 || size > len(b)-begin { // longer, or malformed: the slow way tells
		return false
	}
	end := begin + size
	f.number, f.value, f.rest = protowire.Number(b[0]>>3), b[begin:end:end], b[end:]
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
