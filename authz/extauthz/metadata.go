package extauthz

import (
	"math"
	"strconv"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/sallyport/sallyport/authz"
	"github.com/sallyport/sallyport/internal/token/strict"
)

// metadataKey is under what name other filters find what they are told of a token, within the
// metadata of the filter envoy.filters.http.ext_authz.
const metadataKey = "sallyport"

// Field numbers in google/protobuf/struct.proto.
const (
	fieldFields protowire.Number = 1 // of Struct, a map

	fieldNull   protowire.Number = 1 // of Value
	fieldNumber protowire.Number = 2
	fieldString protowire.Number = 3
	fieldBool   protowire.Number = 4
	fieldStruct protowire.Number = 5
	fieldList   protowire.Number = 6

	fieldValues protowire.Number = 1 // of ListValue
)

// metadata marshals a Struct that has all that is told under one name.
func metadata(all []authz.Metadata) []byte {
	var told []byte
	for _, m := range all {
		told = appendEntry(told, fieldFields, m.Name, value(m.Value))
	}
	inner := protowire.AppendTag(nil, fieldStruct, protowire.BytesType)
	inner = protowire.AppendBytes(inner, told)
	return appendEntry(nil, fieldFields, metadataKey, inner)
}

// appendEntry appends an entry of a map whose values are messages: a Struct's, for one.
func appendEntry(b []byte, field protowire.Number, key string, value []byte) []byte {
	var entry []byte
	entry = protowire.AppendTag(entry, fieldKey, protowire.BytesType)
	entry = protowire.AppendString(entry, key)
	entry = protowire.AppendTag(entry, fieldValue, protowire.BytesType)
	entry = protowire.AppendBytes(entry, value)
	b = protowire.AppendTag(b, field, protowire.BytesType)
	return protowire.AppendBytes(b, entry)
}

// value marshals a Value. Its numbers are doubles, so that a whole number beyond 2^53 loses digits.
func value(v strict.Value) (b []byte) {
	switch v.Kind() {
	case strict.Bool:
		b = protowire.AppendTag(b, fieldBool, protowire.VarintType)
		return protowire.AppendVarint(b, protowire.EncodeBool(v.Text() == "true"))
	case strict.Number:
		n, err := strconv.ParseFloat(v.Text(), 64)
		if err != nil || math.IsInf(n, 0) { // out of range, which JSON allows: its digits then
			return text(v.Text())
		}
		b = protowire.AppendTag(b, fieldNumber, protowire.Fixed64Type)
		return protowire.AppendFixed64(b, math.Float64bits(n))
	case strict.String:
		return text(v.Text())
	case strict.Array:
		var list []byte
		for _, m := range v.Members() {
			list = protowire.AppendTag(list, fieldValues, protowire.BytesType)
			list = protowire.AppendBytes(list, value(m.Value))
		}
		b = protowire.AppendTag(b, fieldList, protowire.BytesType)
		return protowire.AppendBytes(b, list)
	case strict.Object:
		var object []byte
		for _, m := range v.Members() {
			object = appendEntry(object, fieldFields, m.Name, value(m.Value))
		}
		b = protowire.AppendTag(b, fieldStruct, protowire.BytesType)
		return protowire.AppendBytes(b, object)
	}
	b = protowire.AppendTag(b, fieldNull, protowire.VarintType)
	return protowire.AppendVarint(b, 0)
}

func text(s string) []byte {
	b := protowire.AppendTag(nil, fieldString, protowire.BytesType)
	return protowire.AppendString(b, s)
}
