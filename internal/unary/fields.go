package unary

import (
	"strconv"
	"strings"

	"golang.org/x/net/http/httpguts"
	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// fields is what a block of header fields says, of one stream at a time.
type fields struct {
	decoder *hpack.Decoder

	stream  uint32
	ended   bool // the stream has, with this block
	itself  bool // the stream is said to depend on itself
	parts   int  // that have come, and
	encoded int  // their bytes
	size    uint32
	tooLong bool
	invalid bool
	regular bool  // one has come that is no pseudo-header
	pseudo  uint8 // which of pseudos have come

	method, path, contentType, timeout string
	length                             int64 // of the body, by content-length; -1: not said
}

// mostEncoded is how long a block may be, also of a call that is refused for it.
const mostEncoded = 4 * headerList

// mostParts is how many frames a block may come in: a part may be empty, or be put together with those
// before it again and again. Those of a peer that fills its frames are few.
const mostParts = 8

func newFields() *fields {
	f := &fields{}
	f.decoder = hpack.NewDecoder(4096, f.take)
	f.decoder.SetMaxStringLength(headerList)
	return f
}

// pseudos are the pseudo-headers that a request may have.
var pseudos = [...]string{":method", ":path", ":scheme", ":authority"}

// complete reports whether a request has the pseudo-headers that each must have.
func (f *fields) complete() bool { return f.pseudo&7 == 7 && f.path != "" }

// begin begins a block.
func (f *fields) begin(h *http2.HeadersFrame) {
	*f = fields{decoder: f.decoder, stream: h.StreamID, ended: h.StreamEnded(), length: -1}
	f.itself = h.HasPriority() && h.Priority.StreamDep == h.StreamID
	f.decoder.SetEmitEnabled(true)
}

// read reads a part of the block, and all of it when that is the last. What is wrong with the call
// alone must not end those of others, so it is decoded to the end, for both ends' tables to agree;
// but not for ever.
func (f *fields) read(fragment []byte, last bool) error {
	f.parts++
	if f.encoded += len(fragment); f.encoded > mostEncoded || f.parts > mostParts {
		return protocolError
	}
	if _, err := f.decoder.Write(fragment); err != nil {
		return compressionError
	}
	if !last {
		return nil
	}
	if err := f.decoder.Close(); err != nil {
		return compressionError
	}
	return nil
}

// take takes one field.
func (f *fields) take(h hpack.HeaderField) {
	if f.size += h.Size(); f.size > headerList {
		f.tooLong = true
	}
	f.invalid = f.invalid || !f.valid(h.Name, h.Value)
	if f.tooLong || f.invalid {
		f.decoder.SetEmitEnabled(false)
		return
	}
	switch h.Name {
	case ":method":
		f.method = h.Value
	case ":path":
		f.path = h.Value
	case "content-type":
		f.contentType = h.Value
	case "grpc-timeout":
		f.timeout = h.Value
	case "content-length":
		n, err := strconv.ParseUint(h.Value, 10, 63)
		f.invalid = f.invalid || err != nil || f.length >= 0
		f.length = int64(n)
	}
}

// valid reports whether a field may stand where it does.
func (f *fields) valid(name, value string) bool {
	if !httpguts.ValidHeaderFieldValue(value) {
		return false
	}
	if !strings.HasPrefix(name, ":") {
		f.regular = true
		return isName(name) && !ofConnection(name, value)
	}
	for i, known := range pseudos {
		if name == known {
			twice := f.pseudo&(1<<i) != 0
			f.pseudo |= 1 << i
			return !twice && !f.regular
		}
	}
	return false
}

// isName reports whether a name is a token in lower case.
func isName(name string) bool {
	for i := range len(name) {
		if !httpguts.IsTokenRune(rune(name[i])) || 'A' <= name[i] && name[i] <= 'Z' {
			return false
		}
	}
	return name != ""
}

// ofConnection reports whether a field is one that is about a connection, which HTTP/2 has none of.
func ofConnection(name, value string) bool {
	switch name {
	case "connection", "proxy-connection", "keep-alive", "transfer-encoding", "upgrade":
		return true
	case "te":
		return value != "trailers"
	}
	return false
}
