package jose

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"math/big"
	"slices"
	"strings"

	"github.com/sallyport/sallyport/internal/token"
	"github.com/sallyport/sallyport/internal/token/strict"
)

// jsonKey is one entry of a key set.
type jsonKey struct{ strict.Value }

// privateParts are the members of private and secret keys (RFC 7518 section 6).
var privateParts = []string{"d", "p", "q", "dp", "dq", "qi", "oth", "k"}

// noPrivateParts: whoever publishes these has lost the key, and probably the right file. In
// capitals too: many readers of JSON take those for the same names.
func (j jsonKey) noPrivateParts() error {
	for _, m := range j.Members() {
		if slices.ContainsFunc(privateParts,
			func(name string) bool { return strings.EqualFold(name, m.Name) }) {
			return keyError(ProblemPrivate, j.kid(), "expected public keys, got one with %s",
				strings.ToLower(m.Name))
		}
	}
	return nil
}

// forSignatures looks at use and key_ops (RFC 7517 sections 4.2 and 4.3). In a SPIFFE bundle
// jwt-svid stands for sig (SPIFFE Trust Domain and Bundle section 4.2.2).
func (j jsonKey) forSignatures() error {
	use, ok := j.Member("use")
	if ok && (use.Kind() != strict.String || use.Text() != "sig" && use.Text() != "jwt-svid") {
		return keyError(ProblemUse, j.kid(), "expected a key for signatures (use sig or jwt-svid)")
	}
	ops, ok := j.Member("key_ops")
	if !ok {
		return nil
	}
	isVerify := func(m strict.Member) bool {
		return m.Value.Kind() == strict.String && m.Value.Text() == "verify"
	}
	if ops.Kind() == strict.Array && slices.ContainsFunc(ops.Members(), isVerify) {
		return nil
	}
	return keyError(ProblemUse, j.kid(), "expected a key whose key_ops have verify")
}

// isWanted returns what makes the key one that is not asked for: its purpose, or that tokens by the
// algorithms in wanted, if there are any, cannot be signed with it.
func (j jsonKey) isWanted(wanted []string) error {
	if err := j.forSignatures(); err != nil || len(wanted) == 0 {
		return err
	}
	alg, bound := j.Member("alg")
	named := func(name string) bool { return token.Algorithm(name) == token.Algorithm(alg.Text()) }
	if bound && (alg.Kind() != strict.String || slices.ContainsFunc(wanted, named)) {
		return nil // what is wrong with it, if anything, is told when it is read
	}
	switch {
	case bound:
		return keyError(ProblemUnwanted, j.kid(), "expected a key for %s, got one for %.32q",
			strings.Join(wanted, ", "), alg.Text())
	case slices.ContainsFunc(wanted, j.mayBeFor):
		return nil
	}
	return keyError(ProblemUnwanted, j.kid(), "expected a key for %s, got one of another type or curve",
		strings.Join(wanted, ", "))
}

// mayBeFor reports whether the key, which names no algorithm, may be one for alg.
func (j jsonKey) mayBeFor(alg string) bool {
	kty, ok := j.Member("kty")
	if !ok || kty.Kind() != strict.String {
		return true // it is malformed, whatever it is for
	}
	a := algorithms[token.Algorithm(alg)]
	if family(kty.Text()) != a.family {
		return false
	}
	crv, ok := j.Member("crv")
	if !ok || crv.Kind() != strict.String || a.family == familyRSA {
		return true
	}
	return a.family == familyEC && curves[crv.Text()] == a.curve ||
		a.family == familyOKP && crv.Text() == "Ed25519"
}

// kid returns the key's id when it is one, for errors too.
func (j jsonKey) kid() string {
	if kid, ok := j.Member("kid"); ok && kid.Kind() == strict.String && fitKeyID(kid.Text()) {
		return strings.Clone(kid.Text())
	}
	return ""
}

func (j jsonKey) public() (*PublicKey, error) {
	// A key without a kid (RFC 7517 section 4.5) is known by its thumbprint, and stands for tokens
	// that name none.
	kid := j.kid()
	if _, named := j.Member("kid"); named && kid == "" {
		return nil, keyError(ProblemKeyID, "",
			"expected a kid of 1 to %d printable ASCII characters", MaxKeyID)
	}
	var alg string
	if v, ok := j.Member("alg"); ok {
		// An alg that is there binds the key, so it must be one that we know.
		if alg = v.Text(); v.Kind() != strict.String || algorithms[token.Algorithm(alg)].name == "" {
			return nil, keyError(ProblemAlgorithm, kid, "expected an algorithm that is supported")
		}
	}
	key, err := j.material()
	if err != nil {
		return nil, err
	}
	k, err := NewPublicKey(alg, kid, key)
	if issuer, ok := j.Member("issuer"); ok && issuer.Kind() == strict.String && err == nil {
		k.issuer = strings.Clone(issuer.Text())
	}
	return k, err
}

var curves = map[string]elliptic.Curve{
	"P-256": elliptic.P256(), "P-384": elliptic.P384(), "P-521": elliptic.P521(),
}

// material reads the key itself (RFC 7518 section 6, RFC 8037 section 2).
func (j jsonKey) material() (crypto.PublicKey, error) {
	kty, ok := j.Member("kty")
	if !ok || kty.Kind() != strict.String {
		return nil, keyError(ProblemMalformed, "", "expected kty to be a string")
	}
	switch family(kty.Text()) {
	case familyEC:
		return j.ec()
	case familyRSA:
		return j.rsa()
	case familyOKP:
		return j.okp()
	}
	return nil, keyError(ProblemType, "", "expected kty EC, RSA or OKP")
}

// ec: coordinates have the field's full length (RFC 7518 section 6.2.1.2).
func (j jsonKey) ec() (*ecdsa.PublicKey, error) {
	crv, _ := j.Member("crv")
	curve, ok := curves[crv.Text()]
	if !ok || crv.Kind() != strict.String {
		return nil, keyError(ProblemType, "", "expected crv P-256, P-384 or P-521")
	}
	size := (curve.Params().BitSize + 7) / 8
	// The form of SEC 1 section 2.3.3: 4, then both coordinates.
	point := []byte{4}
	for _, name := range []string{"x", "y"} {
		coordinate, err := j.bytes(name)
		if err != nil {
			return nil, err
		}
		if len(coordinate) != size {
			return nil, keyError(ProblemMalformed, "", "expected %d bytes in %s, got %d", size,
				name, len(coordinate))
		}
		point = append(point, coordinate...)
	}
	key, err := ecdsa.ParseUncompressedPublicKey(curve, point)
	if err != nil {
		return nil, keyError(ProblemOffCurve, "", "expected a point of %s", crv.Text())
	}
	return key, nil
}

// rsa: numbers have no leading zeros (RFC 7518 section 2, Base64urlUInt).
func (j jsonKey) rsa() (*rsa.PublicKey, error) {
	var numbers [2]*big.Int
	for i, name := range []string{"n", "e"} {
		b, err := j.bytes(name)
		if err != nil {
			return nil, err
		}
		if b[0] == 0 {
			return nil, keyError(ProblemMalformed, "", "expected %s without leading zeros", name)
		}
		numbers[i] = new(big.Int).SetBytes(b)
	}
	n, e := numbers[0], numbers[1]
	// crypto/rsa has the exponent as an int, of 32 bits on some machines.
	if e.BitLen() > 31 {
		return nil, keyError(ProblemRSAExponent, "",
			"expected an exponent of at most 31 bits, got %d", e.BitLen())
	}
	return &rsa.PublicKey{N: n, E: int(e.Int64())}, nil
}

func (j jsonKey) okp() (ed25519.PublicKey, error) {
	crv, _ := j.Member("crv")
	if crv.Kind() != strict.String || crv.Text() != "Ed25519" {
		return nil, keyError(ProblemType, "", "expected crv Ed25519")
	}
	return j.bytes("x")
}

// bytes reads a member in base64url, unpadded, that is not empty.
func (j jsonKey) bytes(name string) ([]byte, error) {
	v, ok := j.Member(name)
	if !ok || v.Kind() != strict.String || v.Text() == "" {
		return nil, keyError(ProblemMalformed, "", "expected %s to be a string that is not empty", name)
	}
	b, err := decode(v.Text(), name)
	if err != nil || len(b) == 0 {
		return nil, keyError(ProblemMalformed, "",
			"expected %s in base64url without padding or stray bits", name)
	}
	return b, nil
}

// publicJWK is a public key as we write it. Its members stand in the order of their names: without
// kid, alg, use and issuer it is the text that RFC 7638 takes the thumbprint of.
type publicJWK struct {
	Algorithm string `json:"alg,omitempty"`
	Curve     string `json:"crv,omitempty"`
	Exponent  string `json:"e,omitempty"`
	Issuer    string `json:"issuer,omitempty"`
	KeyID     string `json:"kid,omitempty"`
	Type      family `json:"kty"`
	Modulus   string `json:"n,omitempty"`
	Use       string `json:"use,omitempty"`
	X         string `json:"x,omitempty"`
	Y         string `json:"y,omitempty"`
}

func (k ecKey) jwk() (publicJWK, error) {
	point, err := k.Bytes() // 4, then x and y, each of the field's full length
	if err != nil {
		return publicJWK{}, fmt.Errorf("jose: key as JWK: %w", err)
	}
	x, y := point[1:1+len(point)/2], point[1+len(point)/2:]
	return publicJWK{Type: familyEC, Curve: k.Params().Name, X: encode(x), Y: encode(y)}, nil
}

func (k rsaKey) jwk() (publicJWK, error) {
	e := big.NewInt(int64(k.E)).Bytes()
	return publicJWK{Type: familyRSA, Modulus: encode(k.N.Bytes()), Exponent: encode(e)}, nil
}

func (k edKey) jwk() (publicJWK, error) {
	return publicJWK{Type: familyOKP, Curve: "Ed25519", X: encode(k)}, nil
}

func (k secretKey) jwk() (publicJWK, error) {
	return publicJWK{}, keyError(ProblemPrivate, "", "expected a public key to publish, got a secret")
}

func encode(b []byte) string { return strictBase64.EncodeToString(b) }

// thumbprint is the id of a key by RFC 7638, with SHA-256, in base64url.
func thumbprint(k verifier) (string, error) {
	j, err := k.jwk()
	if err != nil {
		return "", err
	}
	text, err := json.Marshal(j)
	if err != nil {
		return "", fmt.Errorf("jose: thumbprint: %w", err)
	}
	sum := sha256.Sum256(text)
	return encode(sum[:]), nil
}
