package filter

import (
	"encoding/binary"
	"strconv"
	"strings"

	"github.com/sallyport/sallyport/authz"
	"github.com/sallyport/sallyport/authz/check"
)

// An answer is what the module is to do, as bytes: it lies in memory of C's, which knows no Go
// type. It begins with a head of five numbers of 32 bits, in this machine's order: verdict, what
// was found in the request, HTTP status, gRPC status, and how many headers follow. Each header is
// two lengths and the bytes of name and value; the length of the value is gone for a header that is
// to be removed. A refusal has two more texts behind its headers, each a length and bytes: the
// body, and Envoy's response code details. An answer that lets pass may have two more lists behind
// its headers, each a number and as many headers: those of the answer to the client, and what
// Envoy's other filters are told, as metadata.
const (
	headSize  = 5 * 4
	headersAt = 4 * 4 // where a head has the number of headers
	gone      = 1<<32 - 1
)

// head is what an answer begins with.
type head struct {
	verdict uint32
	found   found
	status  int
	headers int
}

// Verdicts. 0 is none of them.
const (
	verdictAllow  = 1
	verdictWatch  = 2 // allow, and end the stream when the token is revoked
	verdictRefuse = 3
	verdictHeld   = 4 // the answer comes later
)

// maxAnswer is the greatest size of an answer. A token has 8 KiB.
const maxAnswer = 64 << 10

func appendHead(b []byte, h head) []byte {
	for _, n := range []uint32{
		h.verdict, uint32(h.found), uint32(h.status), uint32(check.GRPCStatus(h.status)),
		uint32(h.headers),
	} {
		b = binary.NativeEndian.AppendUint32(b, n)
	}
	return b
}

// wire is an engine's Wire: it makes answers once.
type wire struct{}

// Wire is what the engine of a Filter must have.
var Wire authz.Wire = wire{}

// Allow makes the headers that a request gets which may pass.
func (wire) Allow(id *authz.Identity) any {
	set := made{headers: len(id.Set)}
	for _, h := range id.Set {
		if !valid(h) {
			return nil // no answer: that is a refusal
		}
		set.bytes = appendHeader(set.bytes, h)
	}
	if len(id.Client)+len(id.Metadata) == 0 {
		return &set
	}
	set.more = binary.NativeEndian.AppendUint32(nil, uint32(len(id.Client)))
	for _, h := range id.Client {
		if !valid(h) {
			return nil
		}
		set.more = appendHeader(set.more, h)
	}
	set.more = binary.NativeEndian.AppendUint32(set.more, uint32(len(id.Metadata)))
	for _, m := range id.Metadata {
		set.more = appendHeader(set.more, authz.Header{Name: m.Name, Value: m.Text()})
	}
	return &set
}

// made is what is the same for every request of a token: headers, and the lists behind all headers.
type made struct {
	headers     int
	bytes, more []byte
}

// Refuse makes the answer to a request that may not pass.
func (wire) Refuse(r *authz.Refusal) any {
	b := appendHead(nil, head{verdict: verdictRefuse, status: r.Status, headers: len(r.Headers)})
	for _, h := range r.Headers {
		if !valid(h) {
			return nil
		}
		b = appendHeader(b, h)
	}
	return appendText(appendText(b, r.Body), "sallyport_"+string(r.Reason))
}

// answer appends what is to be done with a request that was decided on. What does not fit is a
// refusal: whoever needs so much removed sends nothing honest.
func (f *Filter) answer(out []byte, d *authz.Decision, headers []authz.Header, found found,
	keep *Keep) []byte {
	var b []byte
	if d.Allow {
		b = f.allow(out, d, headers, found, keep)
	} else if refusal, ok := d.Refused().Wire.([]byte); ok {
		b = refuse(out, refusal, d.ID)
	}
	if len(b) <= len(out) || cap(b) != cap(out) {
		b = refuse(out, f.broken, d.ID)
	}
	if cap(b) != cap(out) {
		b = append(out, f.broken...)
	}
	putFound(b[len(out):], found)
	return b
}

// refuse appends a refusal that was made before, with a decision's ID among its headers.
func refuse(out, refusal []byte, id authz.ID) []byte {
	if id == (authz.ID{}) || len(refusal) < headSize {
		return append(out, refusal...)
	}
	b := appendID(append(out, refusal[:headSize]...), id)
	count := b[len(out)+headersAt:]
	binary.NativeEndian.PutUint32(count, binary.NativeEndian.Uint32(count)+1)
	return append(b, refusal[headSize:]...)
}

const idDigits = 32

// appendID appends the header that tells the client a decision's ID.
func appendID(b []byte, id authz.ID) []byte {
	b = binary.NativeEndian.AppendUint32(b, uint32(len(authz.HeaderDecision)))
	b = binary.NativeEndian.AppendUint32(b, idDigits)
	return id.Append(append(b, authz.HeaderDecision...))
}

// fixed appends an answer that is the same for all requests but for what was found in one.
func fixed(out, answer []byte, f found) []byte {
	b := append(out, answer...)
	putFound(b[len(out):], f)
	return b
}

// putFound notes what was found in a request in its answer.
func putFound(answer []byte, f found) {
	binary.NativeEndian.PutUint32(answer[4:], uint32(f))
}

// allow appends the answer to a request that may pass: the headers that go with its token, those
// that only this request needs, and which of its own are to be removed. keep is told what of it no
// other request may have. It returns nil if nobody has made the headers that go with the token.
func (f *Filter) allow(out []byte, d *authz.Decision, headers []authz.Header, found found,
	keep *Keep) []byte {
	set, ok := d.Identity.Wire.(*made)
	if !ok || set == nil {
		return nil
	}
	h := head{verdict: verdictAllow, found: found, headers: set.headers}
	if d.Identity.Facts != nil {
		h.verdict = verdictWatch
	}
	b := append(appendHead(out, h), set.bytes...)
	if lifetime := f.options.Streams.Lifetime(d); lifetime > 0 {
		begin := len(b)
		b = appendDuration(b, lifetime.Milliseconds())
		if lifetime != f.options.Streams.Max { // of which every request has all
			keep.Lifetime = lifetime.Milliseconds()
			keep.LifetimeLen = uint32(len(b) - begin - durationDigits)
			keep.LifetimeAt = uint32(len(b)-len(out)) - keep.LifetimeLen
		}
		h.headers++
	}
	// Only what is there needs removing: Envoy shows all headers here.
	if found&foundIdentity != 0 || len(d.Identity.Named) > 0 {
		for _, name := range d.Identity.Remove {
			if authz.HasHeader(headers, name) {
				b = appendRemoval(b, name)
				h.headers++
			}
		}
	}
	if found&foundMark != 0 {
		b = appendRemoval(b, check.HeaderStripped)
		h.headers++
	}
	if found&foundDecision != 0 {
		b = appendRemoval(b, authz.HeaderDecision)
		h.headers++
	}
	for _, name := range d.Strip {
		b = appendRemoval(b, name)
		h.headers++
	}
	if c := d.Changes; c != nil {
		for _, changed := range c.Set {
			b = appendHeader(b, changed)
		}
		for _, name := range c.Remove {
			b = appendRemoval(b, name)
		}
		h.headers += len(c.Set) + len(c.Remove)
		if c.Parameter != "" {
			b = appendHeader(b, authz.Header{Name: ":path", Value: c.Path})
			h.headers++
		}
	}
	binary.NativeEndian.PutUint32(b[len(out)+headersAt:], uint32(h.headers))
	b, idAt := appendClient(b, set, d)
	keep.IDAt = uint32(idAt - len(out))
	return b
}

// nothing are two lists of nothing.
var nothing [8]byte

// appendClient appends the lists behind all headers, with what this decision has for the client, and
// tells where the decision's ID is.
func appendClient(b []byte, set *made, d *authz.Decision) (answer []byte, idAt int) {
	more := set.more
	if more == nil {
		more = nothing[:]
	}
	var client []authz.Header
	if d.Changes != nil {
		client = d.Changes.Client
	}
	count := binary.NativeEndian.Uint32(more) + uint32(len(client))
	if d.ID == (authz.ID{}) {
		b = binary.NativeEndian.AppendUint32(b, count)
	} else {
		b = appendID(binary.NativeEndian.AppendUint32(b, count+1), d.ID)
		idAt = len(b) - idDigits
	}
	for _, h := range client {
		b = appendHeader(b, h)
	}
	return append(b, more[4:]...), idAt
}

func appendHeader(b []byte, h authz.Header) []byte {
	b = binary.NativeEndian.AppendUint32(b, uint32(len(h.Name)))
	b = binary.NativeEndian.AppendUint32(b, uint32(len(h.Value)))
	return append(append(b, h.Name...), h.Value...)
}

func appendRemoval(b []byte, name string) []byte {
	b = binary.NativeEndian.AppendUint32(b, uint32(len(name)))
	b = binary.NativeEndian.AppendUint32(b, gone)
	return append(b, name...)
}

// durationDigits is where appendDuration begins with digits.
const durationDigits = 2*4 + len(check.HeaderStreamDuration)

// appendDuration appends the header by which Envoy ends the stream after so many milliseconds.
func appendDuration(b []byte, milliseconds int64) []byte {
	begin := len(b)
	b = binary.NativeEndian.AppendUint32(b, uint32(len(check.HeaderStreamDuration)))
	b = binary.NativeEndian.AppendUint32(b, 0)
	b = append(b, check.HeaderStreamDuration...)
	before := len(b)
	b = strconv.AppendInt(b, milliseconds, 10)
	binary.NativeEndian.PutUint32(b[begin+4:], uint32(len(b)-before))
	return b
}

func appendText(b []byte, text string) []byte {
	return append(binary.NativeEndian.AppendUint32(b, uint32(len(text))), text...)
}

// valid reports whether a header can be sent: its name is a token in lower case, its value
// printable without white space around it (RFC 9110 sections 5.1 and 5.5).
func valid(h authz.Header) bool {
	if h.Name == "" || strings.Trim(h.Value, " \t") != h.Value {
		return false
	}
	for i := range len(h.Name) {
		c := h.Name[i]
		if c < '!' || c > '~' || 'A' <= c && c <= 'Z' ||
			strings.IndexByte(`"(),/:;<=>?@[\]{}`, c) >= 0 {
			return false
		}
	}
	for i := range len(h.Value) {
		if c := h.Value[i]; c < ' ' && c != '\t' || c >= 0x7f {
			return false
		}
	}
	return true
}
