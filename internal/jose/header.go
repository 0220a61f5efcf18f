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

// Header is what a token's header says. Beside these names only x5t and x5t#S256 may stand in it,
// and they are ignored.
type Header struct {
	// alg, as it stands; never empty, never a spelling of none; whether it is one of ours, the
	// profile says
	Algorithm string
	KeyID     string // kid, never empty
	Type      string // typ; "" when absent
}

// readHeader reads the first part of a token. Those of tokens that were verified before are
// remembered, as all tokens of a key have the same.
func (r *Reader) readHeader(segment string) (Header, error) {
	if r != nil {
		if h, ok := r.headers.recall(segment); ok {
			return h, nil
		}
	}
	text, err := decode(segment, "the header")
	if err != nil {
		return Header{}, err
	}
	return parseHeader(string(text))
}

func parseHeader(text string) (Header, error) {
	root, err := strict.Parse(text, strict.Rules{MaxDepth: maxHeaderDepth, Plain: true})
	switch {
	case errors.Is(err, strict.ErrDuplicate):
		return Header{}, token.Refuse(token.ReasonHeaderDuplicate, "a name stands twice")
	case errors.Is(err, strict.ErrNotPlain):
		return Header{}, token.Refuse(token.ReasonHeader, "expected JSON without white space and escapes")
	case err != nil || root.Kind() != strict.Object:
		return Header{}, token.Refuse(token.ReasonHeader,
			"expected a JSON object, nested at most %d deep, and nothing after it",
			maxHeaderDepth)
	}
	// Names before values, so that a header with crit or jwk is refused as that.
	for _, m := range root.Members() {
		if err := checkName(m); err != nil {
			return Header{}, err
		}
	}
	var h Header
	if h.Algorithm, err = readAlgorithm(root); err != nil {
		return Header{}, err
	}
	if h.KeyID, err = readKeyID(root); err != nil {
		return Header{}, err
	}
	h.Type, err = readType(root)
	return h, err
}

// checkName refuses every name that is not one of the five, those with a history by a reason of
// their own.
func checkName(m strict.Member) error {
	switch m.Name {
	case "alg", "kid", "typ":
		return nil
	case "x5t", "x5t#S256":
		if m.Value.Kind() != strict.String {
			return token.Refuse(token.ReasonHeader, "expected %s to be a string, got %s", m.Name,
				m.Value.Kind())
		}
		return nil
	case "crit", "b64":
		return token.Refuse(token.ReasonHeaderCrit, "expected no %s", m.Name)
	case "jwk", "jku", "x5u", "x5c":
		return token.Refuse(token.ReasonHeaderKey, "expected no %s", m.Name)
	case "enc", "zip", "cty", "epk", "apu", "apv", "p2c", "p2s", "iv", "tag":
		return token.Refuse(token.ReasonHeaderEncrypted, "expected no %s", m.Name)
	}
	return token.Refuse(token.ReasonHeaderUnknown, "expected alg, kid and typ alone, got another name")
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

func readKeyID(root strict.Value) (string, error) {
	kid, ok := root.Member("kid")
	if !ok {
		return "", token.Refuse(token.ReasonKeyIDMissing, "expected kid, got none")
	}
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
