package unary

import (
	"bytes"
	"encoding/binary"
	"strconv"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
	"google.golang.org/grpc/codes"
)

const (
	prefixSize = 5       // bytes before a gRPC message: whether it is compressed, and its length
	maxFrame   = 1 << 14 // what every peer takes, and what we take
	maxWindow  = 1<<31 - 1
)

// Blocks of header fields that are the same for all calls.
var (
	answerHeaders  = block(statusOK, contentType)
	answerTrailers = block(hpack.HeaderField{Name: "grpc-status", Value: "0"})
	notGRPC        = block(hpack.HeaderField{Name: ":status", Value: "415"})
	notPost        = block(
		hpack.HeaderField{Name: ":status", Value: "405"}, hpack.HeaderField{Name: "allow", Value: "POST"})
)

var (
	statusOK    = hpack.HeaderField{Name: ":status", Value: "200"}
	contentType = hpack.HeaderField{Name: "content-type", Value: "application/grpc"}
)

// block encodes header fields so that the encoding does not depend on what went before: it begins by
// emptying the table that peers remember fields in, which also is what a peer wants to hear that has
// made that table smaller, and puts nothing into it.
func block(fields ...hpack.HeaderField) []byte {
	var b bytes.Buffer
	e := hpack.NewEncoder(&b)
	e.SetMaxDynamicTableSize(0)
	for _, f := range fields {
		// a buffer's Write does not fail
		_ = e.WriteField(f)
	}
	return b.Bytes()
}

// refusal encodes the fields of an answer that is an error and has no message.
func refusal(e *Error) []byte {
	return block(statusOK, contentType,
		hpack.HeaderField{Name: "grpc-status", Value: strconv.FormatUint(uint64(e.Code), 10)},
		hpack.HeaderField{Name: "grpc-message", Value: e.Text},
		hpack.HeaderField{Name: "grpc-accept-encoding", Value: "identity"})
}

// What is answered to a call that reaches no method.
var (
	errUnknown    = &Error{codes.Unimplemented, "unknown method"}
	errCompressed = &Error{codes.Unimplemented, "expected a message that is not compressed"}
	errTimeout    = &Error{codes.InvalidArgument, "grpc-timeout is malformed"}
	errTooLong    = &Error{codes.ResourceExhausted, "the message is longer than allowed"}
	errTooMuch    = &Error{codes.ResourceExhausted, "too many bytes of messages are waiting"}
	errOneMessage = &Error{codes.Internal, "expected one whole message"}
	errInternal   = &Error{codes.Internal, "internal error"}
	errLate       = &Error{codes.DeadlineExceeded, "the call's time is over"}
)

// appendFrame appends a frame's header.
func appendFrame(b []byte, kind http2.FrameType, flags http2.Flags, stream uint32, size int) []byte {
	return append(
		b, byte(size>>16), byte(size>>8), byte(size), byte(kind), byte(flags),
		byte(stream>>24), byte(stream>>16), byte(stream>>8), byte(stream),
	)
}

// appendHeaders appends a frame of header fields, the stream's last or not.
func appendHeaders(b []byte, stream uint32, fields []byte, last bool) []byte {
	flags := http2.FlagHeadersEndHeaders
	if last {
		flags |= http2.FlagHeadersEndStream
	}
	return append(appendFrame(b, http2.FrameHeaders, flags, stream, len(fields)), fields...)
}

// appendPrefix appends what stands before a message of that size.
func appendPrefix(b []byte, size int) []byte {
	return binary.BigEndian.AppendUint32(append(b, 0), uint32(size))
}
