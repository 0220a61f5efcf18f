package jose

import (
	"encoding/base64"
	"strings"

	"github.com/sallyport/sallyport/internal/token"
)

// MaxToken is the most bytes that a token may have.
const MaxToken = 8 << 10

// Parsed is a token that has been read and not been verified: nothing that it says is to be
// believed yet.
type Parsed struct {
	Header       Header
	Payload      string // the claims as JSON, decoded
	SigningInput string // what was signed: a view of the token
	Signature    []byte

	segment string // the header as it was encoded: a view of the token
	lasting bool   // other tokens have the same header
	body    *token.Body
	reader  *Reader // nil: nothing is remembered
}

// Reader reads tokens, and remembers the headers of those that were verified. The zero value is
// ready. It may be used from many goroutines; two of them share nothing.
type Reader struct{ headers memory }

// Parse reads a token as Reader does, without a memory.
func Parse(compact string) (Parsed, error) { return (*Reader)(nil).Parse(compact) }

// Parse reads the compact form: three parts of unpadded base64url, of which the first is a header.
// What is wrong with that for every issuer is an error; what depends on whose token it is, Verify
// judges. It uses no memory in proportion to what it refuses. Its errors are *token.Error.
func (r *Reader) Parse(compact string) (Parsed, error) {
	if len(compact) > MaxToken {
		return Parsed{}, token.Refuse(token.ReasonTooLong, "expected at most %d bytes, got %d",
			MaxToken, len(compact))
	}
	header, payload, signature, ok := cut(compact)
	if !ok {
		return Parsed{}, token.Refuse(token.ReasonSegments, "expected three parts between two dots")
	}
	h, lasting, err := r.readHeader(header)
	if err != nil {
		return Parsed{}, err
	}
	if signature == "" {
		return Parsed{}, token.Refuse(token.ReasonUnsigned, "expected a signature, got none")
	}
	var room [1 << 10]byte // for usual claims, on the stack
	claims, err := decodeInto(room[:0], payload, "the claims")
	if err != nil {
		return Parsed{}, err
	}
	sig, err := decode(signature, "the signature")
	if err != nil {
		return Parsed{}, err
	}
	return Parsed{
		Header:       h,
		Payload:      string(claims),
		SigningInput: compact[:len(header)+1+len(payload)],
		Signature:    sig,
		segment:      header,
		lasting:      lasting,
		reader:       r,
	}, nil
}

// cut parts a token at its two dots. The signature may be empty here, so that a header that asks
// for none is refused as that.
func cut(compact string) (header, payload, signature string, ok bool) {
	header, rest, ok := strings.Cut(compact, ".")
	if !ok {
		return "", "", "", false
	}
	payload, signature, ok = strings.Cut(rest, ".")
	if !ok || header == "" || payload == "" || strings.IndexByte(signature, '.') >= 0 {
		return "", "", "", false
	}
	return header, payload, signature, true
}

// strictBase64 refuses padding, other alphabets and trailing bits that are not zero; line breaks,
// which it would skip, decode refuses.
var strictBase64 = base64.RawURLEncoding.Strict()

func decode(segment, what string) ([]byte, error) {
	return decodeInto(make([]byte, 0, base64.RawURLEncoding.DecodedLen(len(segment))), segment, what)
}

// decodeInto writes to out, as far as its room suffices.
func decodeInto(out []byte, segment, what string) ([]byte, error) {
	if strings.IndexByte(segment, '\n') >= 0 || strings.IndexByte(segment, '\r') >= 0 {
		return nil, token.Refuse(token.ReasonBase64, "expected %s without line breaks", what)
	}
	out, err := strictBase64.AppendDecode(out, []byte(segment))
	if err != nil {
		return nil, token.Refuse(token.ReasonBase64,
			"expected %s in base64url without padding or stray bits", what)
	}
	return out, nil
}

// Body reads the claims strictly as JSON. A Parsed is for one goroutine: it keeps what Body has
// read.
func (p *Parsed) Body() (token.Body, error) {
	if p.body == nil {
		b, err := token.ReadBody(p.Payload)
		if err != nil {
			return token.Body{}, err
		}
		p.body = &b
	}
	return *p.body, nil
}

// Issuer returns iss, by which profile and keys are chosen, out of claims that are read strictly as
// a whole. It is not to be believed, logged as a fact or used for anything else before Verify.
func (p *Parsed) Issuer() (string, error) {
	b, err := p.Body()
	if err != nil {
		return "", err
	}
	return b.Issuer()
}

// Verify does all of the judging that does not depend on the time, in this order: the header
// against the profile, the claims against the profile, the key against the header, the signature.
// Only without an error are the claims to be believed; then profile.CheckTime is left. For a token
// without a kid, key must be the only one of the issuer that fits the token's algorithm. A nil key
// refuses the token as one with an unknown key, or without a kid.
func (p *Parsed) Verify(profile *token.Profile, key *PublicKey) (*token.Claims, error) {
	// The profile before the key: a key never decides how it is used (RFC 8725 section 3.1).
	if err := profile.CheckHeader(p.Header); err != nil {
		return nil, err
	}
	b, err := p.Body()
	if err != nil {
		return nil, err
	}
	claims, err := profile.Judge(b)
	if err != nil {
		return nil, err
	}
	switch kid := p.Header.KeyID; {
	case key == nil && kid == "":
		return nil, token.Refuse(token.ReasonKeyIDMissing,
			"expected kid, or exactly one key of the issuer for the algorithm")
	case key == nil || kid != "" && key.ID() != kid:
		return nil, token.Refuse(token.ReasonUnknownKey, "expected a key that the issuer has published")
	}
	if err := key.Verify(p.Header.Algorithm, p.SigningInput, p.Signature); err != nil {
		return nil, err
	}
	// Only now: a stranger's header must not take anyone's place.
	if p.reader != nil && p.lasting {
		p.reader.headers.remember(p.segment, p.Header, claims.Issuer)
	}
	return claims, nil
}
