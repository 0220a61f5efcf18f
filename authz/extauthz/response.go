package extauthz

import (
	"bytes"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/encoding/protowire"

	"github.com/sallyport/sallyport/authz"
	"github.com/sallyport/sallyport/authz/check"
	"github.com/sallyport/sallyport/authz/extauthz/door"
)

// Field numbers in envoy/service/auth/v3, envoy/config/core/v3 and google/rpc.
const (
	fieldStatus protowire.Number = 1 // of CheckResponse
	fieldDenied protowire.Number = 2
	fieldOK     protowire.Number = 3

	fieldCode protowire.Number = 1 // of google.rpc.Status and of HttpStatus

	fieldDeniedStatus  protowire.Number = 1 // of DeniedHttpResponse
	fieldDeniedHeaders protowire.Number = 2
	fieldDeniedBody    protowire.Number = 3

	fieldMetadata protowire.Number = 4 // of CheckResponse

	fieldOKHeaders protowire.Number = 2 // of OkHttpResponse
	fieldOKRemove  protowire.Number = 5
	fieldOKClient  protowire.Number = 6
	fieldOKQuery   protowire.Number = 8

	fieldOptionHeader protowire.Number = 1 // of HeaderValueOption
	fieldOptionAction protowire.Number = 3
)

// actionOverwrite is OVERWRITE_IF_EXISTS_OR_ADD of HeaderValueOption.HeaderAppendAction. Envoy
// overwrites request headers whatever the action says, as long as the older field `append` is not
// true.
const actionOverwrite = 2

// actionAppend is APPEND_IF_EXISTS_OR_ADD: for headers that are lists of which others write a part.
const actionAppend = 0

// answers is an engine's Wire: it marshals CheckResponses.
type answers struct {
	remove []string // headers that every allowed request loses
	all    bool     // and every spelling of those that are made of claims
	last   *atomic.Pointer[spelt]
}

// spelt is the part of an answer that removes every spelling of some headers. It is the same for
// all tokens under a policy, and long.
type spelt struct {
	named   []string
	message []byte
}

// NewWire returns what an engine needs to marshal answers once. The engine of a Server must have
// the Wire of its Config.
func NewWire(c Config) authz.Wire { return newAnswers(c) }

func newAnswers(c Config) answers {
	remove := []string{check.HeaderStripped}
	if c.Strip == door.StripAll {
		remove = append(remove, authz.Misspellings()...)
	}
	if c.Strip == door.StripAll && !c.KeepOverrides {
		remove = append(remove, authz.OverrideHeaders()...)
	}
	return answers{
		remove: remove, all: c.Strip == door.StripAll, last: new(atomic.Pointer[spelt]),
	}
}

// spellings returns the part of an answer that removes other spellings of headers that are made of
// claims.
func (a answers) spellings(named []string) []byte {
	if s := a.last.Load(); s != nil && slices.Equal(s.named, named) {
		return s.message
	}
	var ok []byte
	for _, name := range named {
		ok = appendNames(ok, fieldOKRemove, authz.SpellingsOf(name))
	}
	s := &spelt{named: named, message: appendOK(nil, ok)}
	a.last.Store(s)
	return s.message
}

// appendOK appends an OkHttpResponse: of two in one message protobuf makes one, by appending what
// may be repeated, as all is here.
func appendOK(out, ok []byte) []byte {
	out = protowire.AppendTag(out, fieldOK, protowire.BytesType)
	return protowire.AppendBytes(out, ok)
}

// Allow marshals the answer to a request that may pass.
func (a answers) Allow(id *authz.Identity) any {
	var ok []byte
	for _, h := range id.Set {
		ok = appendHeader(ok, fieldOKHeaders, h)
	}
	for _, h := range id.Client {
		ok = appendHeader(ok, fieldOKClient, h)
	}
	ok = appendNames(appendNames(ok, fieldOKRemove, id.Remove), fieldOKRemove, a.remove)
	out := appendOK(appendStatus(nil, codes.OK), ok)
	if len(id.Metadata) > 0 {
		out = protowire.AppendTag(out, fieldMetadata, protowire.BytesType)
		out = protowire.AppendBytes(out, metadata(id.Metadata))
	}
	made := newAnswer(out)
	if a.all && len(id.Named) > 0 {
		made.more = a.spellings(id.Named)
	}
	return made
}

// besides marshals what one request needs besides its identity: headers to remove, what it loses of
// its credentials, and for how long its answer may last, when that is more than 0. It is a second
// OkHttpResponse to stand behind the first.
func besides(d *authz.Decision, lifetime time.Duration) []byte {
	ok := appendNames(make([]byte, 0, 192), fieldOKRemove, d.Strip)
	if changes := d.Changes; changes != nil {
		for _, h := range changes.Client {
			ok = appendHeader(ok, fieldOKClient, h)
		}
		for _, h := range changes.Set {
			ok = appendHeader(ok, fieldOKHeaders, h)
		}
		ok = appendNames(ok, fieldOKRemove, changes.Remove)
		if changes.Parameter != "" {
			ok = appendNames(ok, fieldOKQuery, []string{changes.Parameter})
		}
	}
	if lifetime > 0 {
		ok = appendHeader(ok, fieldOKHeaders,
			authz.Header{Name: check.HeaderStreamDuration, Value: milliseconds(lifetime)})
	}
	return appendOK(make([]byte, 0, len(ok)+4), ok)
}

// idHeader is the part of an answer that tells the client a decision's ID: what stands before its
// digits, and behind them.
type idHeader struct{ before, after []byte }

const idDigits = 32

var (
	allowedID = newIDHeader(fieldOK, fieldOKClient)
	refusedID = newIDHeader(fieldDenied, fieldDeniedHeaders)
)

// newIDHeader marshals the header as a second message of that kind, to stand behind the first.
func newIDHeader(kind, headers protowire.Number) idHeader {
	digits := strings.Repeat("0", idDigits)
	inner := appendHeader(nil, headers, authz.Header{Name: authz.HeaderDecision, Value: digits})
	message := protowire.AppendBytes(protowire.AppendTag(nil, kind, protowire.BytesType), inner)
	at := bytes.Index(message, []byte(digits))
	return idHeader{message[:at], message[at+idDigits:]}
}

// append appends the header; nothing when there is no ID.
func (h *idHeader) append(to []byte, id authz.ID) []byte {
	if id == (authz.ID{}) {
		return to
	}
	return append(id.Append(append(to, h.before...)), h.after...)
}

func appendNames(ok []byte, field protowire.Number, names []string) []byte {
	for _, name := range names {
		ok = protowire.AppendTag(ok, field, protowire.BytesType)
		ok = protowire.AppendString(ok, name)
	}
	return ok
}

// Refuse marshals the answer to a request that may not pass.
func (a answers) Refuse(r *authz.Refusal) any { return newAnswer(refuse(r)) }

// refuse marshals a DeniedHttpResponse.
func refuse(r *authz.Refusal) []byte {
	var denied []byte
	denied = protowire.AppendTag(denied, fieldDeniedStatus, protowire.BytesType)
	denied = protowire.AppendBytes(denied, appendCode(nil, uint64(r.Status)))
	for _, h := range r.Headers {
		denied = appendHeader(denied, fieldDeniedHeaders, h)
	}
	denied = protowire.AppendTag(denied, fieldDeniedBody, protowire.BytesType)
	denied = protowire.AppendString(denied, r.Body)

	out := appendStatus(nil, check.GRPCStatus(r.Status))
	out = protowire.AppendTag(out, fieldDenied, protowire.BytesType)
	return protowire.AppendBytes(out, denied)
}

func appendStatus(b []byte, code codes.Code) []byte {
	b = protowire.AppendTag(b, fieldStatus, protowire.BytesType)
	return protowire.AppendBytes(b, appendCode(nil, uint64(code)))
}

// appendCode writes a message that has just a code; 0 is not written, being the default.
func appendCode(b []byte, code uint64) []byte {
	if code == 0 {
		return b
	}
	b = protowire.AppendTag(b, fieldCode, protowire.VarintType)
	return protowire.AppendVarint(b, code)
}

func appendHeader(b []byte, field protowire.Number, h authz.Header) []byte {
	header := make([]byte, 0, 128) // on the stack, as long as that suffices
	header = protowire.AppendTag(header, fieldKey, protowire.BytesType)
	header = protowire.AppendString(header, h.Name)
	header = protowire.AppendTag(header, fieldValue, protowire.BytesType)
	header = protowire.AppendString(header, h.Value)

	option := make([]byte, 0, 160)
	option = protowire.AppendTag(option, fieldOptionHeader, protowire.BytesType)
	option = protowire.AppendBytes(option, header)
	option = protowire.AppendTag(option, fieldOptionAction, protowire.VarintType)
	action := uint64(actionOverwrite)
	if h.Name == authz.HeaderVary {
		action = actionAppend
	}
	option = protowire.AppendVarint(option, action)

	b = protowire.AppendTag(b, field, protowire.BytesType)
	return protowire.AppendBytes(b, option)
}

func milliseconds(d time.Duration) string { return strconv.FormatInt(d.Milliseconds(), 10) }
