package jose

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"math/big"

	"github.com/sallyport/sallyport/internal/token/strict"
)

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
