// Package decisionlog writes what a gate decides, one JSON line for each decision that is logged,
// and reads such lines again.
//
// It promises:
//   - Whoever decides never waits: a line that finds the queue full is dropped, and so is one beyond
//     the limit of its reason. What has no line is counted, and the next line says how many there
//     were.
//   - Every refusal has its line within these limits; of what is allowed, a sample does.
//   - One decision is one line of at most 16 KiB of plain ASCII, a valid JSON object, whatever bytes
//     a stranger put into it.
//   - The fields are those of Record and no others: there is none for a token, and of claims and
//     headers those stand in it that the configuration names. What has the shape of a credential is
//     left out wherever it turns up, and Record.Cut says of which field.
package decisionlog

import (
	"bytes"
	"encoding/json"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/sallyport/sallyport/internal/audit"
)

// Event is the value of Record.Event: it tells these lines from those of the audit log.
const Event = "decision"

// The verdicts.
const (
	Allowed = "allowed"
	Refused = "refused"
)

// Record is one line: what was decided, and by what. It has what is needed to decide again by
// another policy.
type Record struct {
	Event     string    `json:"event"`
	Time      time.Time `json:"time"`
	ID        string    `json:"id"`
	RequestID string    `json:"request_id,omitempty"` // Envoy's, of x-request-id
	TraceID   string    `json:"trace_id,omitempty"`   // of traceparent

	Verdict string `json:"verdict"`
	Status  int    `json:"status"` // the client's, of a refusal; 200 else
	Reason  string `json:"reason,omitempty"`
	Detail  string `json:"detail,omitempty"`
	Route   string `json:"route,omitempty"`  // under which the request fell, as the policy has it
	Policy  string `json:"policy,omitempty"` // that Envoy's route names; "" for the one of all others
	Shadow  string `json:"shadow,omitempty"` // what the shadow policy decides: allowed, or a reason

	Method string `json:"method"`
	Host   string `json:"host"`
	Path   string `json:"path"` // without its query
	GRPC   string `json:"grpc,omitempty"`
	Peer   string `json:"peer,omitempty"`

	// Headers are those of the request that the configuration names, lines of one name joined by
	// commas, and NoHeaders those of them that it did not have.
	Headers   map[string]string `json:"headers,omitempty"`
	NoHeaders []string          `json:"no_headers,omitempty"`

	Token     string `json:"token"`                // what became of it: authz.TokenState
	TokenFrom string `json:"token_from,omitempty"` // where it stood
	Issuer    string `json:"issuer,omitempty"`     // of a genuine token
	KeyID     string `json:"key_id,omitempty"`
	// Claims are those of a genuine token that the configuration names, as it writes them, and NoClaims
	// those of them that the token does not have.
	Claims   map[string]json.RawMessage `json:"claims,omitempty"`
	NoClaims []string                   `json:"no_claims,omitempty"`

	// Cut are the fields that do not say all: too long, not UTF-8, or of the shape of a credential.
	Cut    []string `json:"cut,omitempty"`
	Micros int64    `json:"duration_us"`
	// Dropped is how many decisions that were to have a line have none, since the line before.
	Dropped uint64 `json:"dropped,omitempty"`
}

// Bounds of what a record keeps, in bytes.
const (
	maxLine   = 16 << 10
	maxPath   = 1 << 10
	maxText   = 256
	maxClaim  = 1 << 10
	maxClaims = 4 << 10 // all together
)

// Text returns a copy of what a line may keep of a text of the request's, and notes under name when
// that is not all.
func (r *Record) Text(name, s string) string { return r.text(name, s, maxText) }

// SetPath keeps a request's path, without its query: that may hold a token.
func (r *Record) SetPath(target string) {
	path, _, _ := strings.Cut(target, "?")
	cut := len(r.Cut)
	r.Path = r.text("path", path, maxPath)
	// A fragment is no part of a request: it is refused wherever it stands, be it in the query.
	if len(r.Cut) == cut && strings.Contains(target, "#") {
		r.Cut = append(r.Cut, "path")
	}
}

func (r *Record) text(name, s string, most int) string {
	kept := s[:min(len(s), most)]
	for !utf8.ValidString(kept) && len(s) > most && len(kept) > most-utf8.UTFMax {
		kept = kept[:len(kept)-1] // in the middle of a character
	}
	kept = audit.Redact(strings.ToValidUTF8(kept, "\ufffd"))
	if kept != s {
		r.Cut = append(r.Cut, name)
	}
	return strings.Clone(kept)
}

// AddClaim keeps a claim: its value as JSON, or that the token has none.
func (r *Record) AddClaim(name, value string, ok bool) {
	size := len(value)
	for _, v := range r.Claims {
		size += len(v)
	}
	switch {
	case !ok:
		r.NoClaims = append(r.NoClaims, name)
	case len(value) > maxClaim || size > maxClaims || audit.Redact(value) != value:
		r.Cut = append(r.Cut, "claims."+name)
	default:
		if r.Claims == nil {
			r.Claims = map[string]json.RawMessage{}
		}
		r.Claims[name] = json.RawMessage(value)
	}
}

// AddHeader keeps a header: its value, or that the request has none.
func (r *Record) AddHeader(name, value string, ok bool) {
	if !ok {
		r.NoHeaders = append(r.NoHeaders, name)
		return
	}
	cut := len(r.Cut)
	text := r.Text("headers."+name, value)
	if len(r.Cut) > cut {
		return // a part of it would be another value
	}
	if r.Headers == nil {
		r.Headers = map[string]string{}
	}
	r.Headers[name] = text
}

// line returns the record as a line with its break.
func (r *Record) line() ([]byte, error) {
	text, err := json.Marshal(r)
	if err != nil {
		return nil, err
	}
	if text = ascii(text); len(text) < maxLine {
		return append(text, '\n'), nil
	}
	// Escaped, a byte may take six. What is of most use then is that there was a decision at all.
	short := Record{
		Event: r.Event, Time: r.Time, ID: r.ID, Verdict: r.Verdict, Status: r.Status, Reason: r.Reason,
		Token: r.Token, Micros: r.Micros, Dropped: r.Dropped, Cut: []string{"line"},
	}
	text, err = json.Marshal(&short)
	return append(ascii(text), '\n'), err
}

// ascii escapes what is not printable ASCII in JSON, where it stands in texts alone.
func ascii(text []byte) []byte {
	if !slices.ContainsFunc(text, func(c byte) bool { return c >= 0x7f }) {
		return text
	}
	const hex = "0123456789abcdef"
	var out bytes.Buffer
	unit := func(r rune) {
		out.Write([]byte{'\\', 'u', hex[r>>12&15], hex[r>>8&15], hex[r>>4&15], hex[r&15]})
	}
	for _, r := range string(text) {
		switch {
		case r < 0x7f:
			out.WriteByte(byte(r))
		case r > 0xffff: // two, as UTF-16 has it (RFC 8259 section 7)
			unit(0xd800 + (r-0x10000)>>10)
			unit(0xdc00 + (r-0x10000)&0x3ff)
		default:
			unit(r)
		}
	}
	return out.Bytes()
}

// TraceID returns the trace that a request is part of, by its traceparent (W3C Trace Context, section
// 3.2): 32 hexadecimal digits, or "" unless that is well-formed.
func TraceID(traceparent string) string {
	const length = len("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")
	if len(traceparent) < length {
		return ""
	}
	version, flags := traceparent[:2], traceparent[length-2:length]
	trace, span := traceparent[3:35], traceparent[36:52]
	// A version that is not known yet may say more behind these.
	more := version != "00" && len(traceparent) > length && traceparent[length] == '-'
	switch {
	case len(traceparent) > length && !more,
		traceparent[2] != '-' || traceparent[35] != '-' || traceparent[52] != '-',
		version == "ff",
		!isHex(version) || !isHex(trace) || !isHex(span) || !isHex(flags),
		strings.Trim(trace, "0") == "" || strings.Trim(span, "0") == "":
		return ""
	}
	return strings.Clone(trace)
}

func isHex(s string) bool { return strings.Trim(s, "0123456789abcdef") == "" }
