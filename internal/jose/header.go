package jose

import (
	"errors"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/sallyport/sallyport/internal/token"
	"github.com/sallyport/sallyport/internal/token/strict"
)

// MaxKeyID is the most bytes that a kid may have.
const MaxKeyID = 256

const (
	maxHeaderDepth = 16
	maxHeaders     = 64 // headers of one issuer that are remembered
)

// Header is what a token's header says.
type Header = token.Header

// readHeader reads the first part of a token. Those of tokens that were verified before are
// remembered, as all tokens of a key have the same; lasting is false for one that may be another in
// each token.
func (r *Reader) readHeader(segment string) (h Header, lasting bool, err error) {
	if r != nil {
		if h, ok := r.headers.recall(segment); ok {
			return h, true, nil
		}
	}
	text, err := decode(segment, "the header")
	if err != nil {
		return Header{}, false, err
	}
	h, lasting = parseHeader(string(text))
	if h.Fault != nil && (h.Foreign == nil || token.ReasonOf(h.Foreign) == token.ReasonOf(h.Fault)) {
		return Header{}, false, h.Fault // whosever it is
	}
	return h, lasting, nil
}

// parseHeader reads a header as any issuer may write it, and notes what none of ours would.
func parseHeader(text string) (h Header, lasting bool) {
	root, err := strict.Parse(text, strict.Rules{MaxDepth: maxHeaderDepth, Plain: true})
	if errors.Is(err, strict.ErrNotPlain) {
		h.Foreign = token.Refuse(token.ReasonHeader, "expected JSON without white space and escapes")
		root, err = strict.Parse(text, strict.Rules{MaxDepth: maxHeaderDepth})
	}
	switch {
	case errors.Is(err, strict.ErrDuplicate):
		h.Fault = token.Refuse(token.ReasonHeaderDuplicate, "a name stands twice")
	case err != nil || root.Kind() != strict.Object:
		h.Fault = token.Refuse(token.ReasonHeader,
			"expected a JSON object, nested at most %d deep, and nothing after it", maxHeaderDepth)
	}
	if h.Fault != nil {
		return h, false
	}
	lasting = true
	// Names before values, so that a header with crit or jwk is refused as that.
	for _, m := range root.Members() {
		h.Foreign = firstOf(h.Foreign, checkOurName(m))
		h.Fault = firstOf(h.Fault, checkName(m))
		lasting = lasting && isOurName(m.Name)
	}
	h.Algorithm, err = readAlgorithm(root)
	h.Fault = firstOf(h.Fault, err)
	if kid, ok := root.Member("kid"); ok {
		h.KeyID, err = readKeyID(kid)
		h.Fault = firstOf(h.Fault, err)
	} else if h.Fault == nil {
		h.Foreign = firstOf(h.Foreign, token.Refuse(token.ReasonKeyIDMissing, "expected kid, got none"))
	}
	h.Type, err = readType(root)
	h.Fault = firstOf(h.Fault, err)
	return h, lasting
}

// firstOf keeps what was found wrong first.
func firstOf(first, next error) error {
	if first != nil {
		return first
	}
	return next
}

func isOurName(name string) bool {
	switch name {
	case "alg", "kid", "typ", "x5t", "x5t#S256":
		return true
	}
	return false
}

// checkOurName refuses, for tokens of ours, every name that is not one of the five, those with a
// history by a reason of their own.
func checkOurName(m strict.Member) error {
	switch m.Name {
	case "alg", "kid", "typ":
		return nil
	case "x5t", "x5t#S256":
		if m.Value.Kind() != strict.String {
			return token.Refuse(token.ReasonHeader, "expected %s to be a string, got %s", m.Name,
				m.Value.Kind())
		}
		return nil
	case "jwk", "jku", "x5u", "x5c":
		return token.Refuse(token.ReasonHeaderKey, "expected no %s", m.Name)
	case "cty":
		return token.Refuse(token.ReasonHeaderEncrypted, "expected no %s", m.Name)
	}
	if err := checkName(m); err != nil {
		return err
	}
	return token.Refuse(token.ReasonHeaderUnknown, "expected alg, kid and typ alone, got another name")
}

// checkName refuses what no access token may say in its header: that it is to be read by rules of
// its own, and that there is another token, or something encrypted or compressed, inside. Names
// that bring or point to keys are not looked at, as all that are not known (RFC 7515 section 4).
func checkName(m strict.Member) error {
	switch m.Name {
	case "crit", "b64":
		return token.Refuse(token.ReasonHeaderCrit, "expected no %s", m.Name)
	case "enc", "zip", "p2c", "p2s":
		return token.Refuse(token.ReasonHeaderEncrypted, "expected no %s", m.Name)
	case "cty":
		if m.Value.Kind() == strict.String && token.IsMediaType(m.Value.Text(), "JWT") {
			return token.Refuse(token.ReasonHeaderEncrypted, "expected no token inside the token")
		}
	}
	return nil
}

// readAlgorithm refuses none in every spelling by its own reason, so that it is counted apart from
// mere mistakes.
func readAlgorithm(root strict.Value) (string, error) {
	alg, ok := root.Member("alg")
	switch {
	case !ok || alg.Kind() != strict.String || alg.Text() == "":
		return "", token.Refuse(token.ReasonAlgMissing, "expected alg to be a string that is not empty")
	case strings.EqualFold(strings.TrimSpace(alg.Text()), "none"):
		return "", token.Refuse(token.ReasonAlgNone, "expected a signature's algorithm")
	}
	return strings.Clone(alg.Text()), nil
}

func readKeyID(kid strict.Value) (string, error) {
	if kid.Kind() != strict.String || !fitKeyID(kid.Text()) {
		return "", token.Refuse(token.ReasonKeyID,
			"expected kid to be a string of 1 to %d printable ASCII characters", MaxKeyID)
	}
	return strings.Clone(kid.Text()), nil
}

// fitKeyID: a kid is compared and logged, never interpreted.
func fitKeyID(kid string) bool {
	if kid == "" || len(kid) > MaxKeyID {
		return false
	}
	for i := range len(kid) {
		if kid[i] < ' ' || kid[i] >= 0x7f {
			return false
		}
	}
	return true
}

func readType(root strict.Value) (string, error) {
	typ, ok := root.Member("typ")
	if !ok {
		return "", nil
	}
	if typ.Kind() != strict.String || typ.Text() == "" {
		return "", token.Refuse(token.ReasonTyp, "expected typ to be a string that is not empty")
	}
	return strings.Clone(typ.Text()), nil
}

// memory remembers headers of verified tokens. What a header says follows from its bytes alone, so
// it never grows stale; as only keys of trusted issuers get one in, strangers can neither fill it
// nor empty it. Each issuer has room of its own: one whose headers differ without end begins again
// with its own, and costs the others nothing.
type memory struct {
	mu    sync.Mutex // of writers
	known atomic.Pointer[map[string]remembered]
}

// remembered is a header, and the issuer whose room it takes.
type remembered struct {
	Header
	issuer string
}

func (m *memory) recall(segment string) (Header, bool) {
	known := m.known.Load()
	if known == nil {
		return Header{}, false
	}
	h, ok := (*known)[segment]
	return h.Header, ok
}

// remember adds a header; when the issuer has too many, those go.
func (m *memory) remember(segment string, h Header, issuer string) {
	if _, ok := m.recall(segment); ok {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	// A new map each time, so that readers need no lock; there is a header a key, not a token.
	next := make(map[string]remembered)
	if known := m.known.Load(); known != nil {
		full := countOf(*known, issuer) >= maxHeaders
		for s, old := range *known {
			if !full || old.issuer != issuer {
				next[s] = old
			}
		}
	}
	next[strings.Clone(segment)] = remembered{Header: h, issuer: issuer}
	m.known.Store(&next)
}

func countOf(known map[string]remembered, issuer string) (n int) {
	for _, h := range known {
		if h.issuer == issuer {
			n++
		}
	}
	return n
}
