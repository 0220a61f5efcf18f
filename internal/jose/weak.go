package jose

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/subtle"
	"errors"
	"fmt"
	"math/big"

	"filippo.io/edwards25519"
	"filippo.io/edwards25519/field"
)

// KeyProblem is why a key was refused: a short, stable code out of a fixed list, fit to label
// metrics.
type KeyProblem string

// The problems that a key can have.
const (
	ProblemMalformed KeyProblem = "malformed"    // not a key in its one spelling
	ProblemType      KeyProblem = "unknown_type" // a kty or curve that is not supported
	// an alg that is not supported, or not one for this key
	ProblemAlgorithm KeyProblem = "wrong_algorithm"
	// published for something else than verifying signatures
	ProblemUse KeyProblem = "wrong_use"
	// published for another algorithm than those that are asked for, or of another type
	ProblemUnwanted  KeyProblem = "unwanted"
	ProblemKeyID     KeyProblem = "bad_kid"       // without a kid, or with one that cannot be
	ProblemDuplicate KeyProblem = "duplicate_kid" // different keys with one kid
	// a private or secret key where public ones belong
	ProblemPrivate KeyProblem = "private_key"
	ProblemRSASize KeyProblem = "rsa_size" // RSA below 2048 or above 8192 bits
	// an even exponent, or 1, or one of more than 31 bits
	ProblemRSAExponent KeyProblem = "rsa_exponent"
	ProblemRSAModulus  KeyProblem = "rsa_modulus" // a modulus that is easily taken apart
	// not a point of its curve, or the point at infinity
	ProblemOffCurve KeyProblem = "off_curve"
	ProblemLowOrder KeyProblem = "low_order" // an Ed25519 point that makes forging easy
	// an HMAC secret of less than 32 bytes, or a blank one
	ProblemShortSecret KeyProblem = "short_secret"
	// an HMAC secret that is a key in PEM, DER, JWK or SSH form
	ProblemNotSecret KeyProblem = "secret_is_no_secret"
)

// KeyError is a key that was refused. It never shows the key.
type KeyError struct {
	Problem KeyProblem
	KeyID   string // "" when not known
	Detail  string
}

// Error implements error.
func (e *KeyError) Error() string {
	if e.KeyID == "" {
		return fmt.Sprintf("jose: key refused: %s: %s", e.Problem, e.Detail)
	}
	return fmt.Sprintf("jose: key %.64q refused: %s: %s", e.KeyID, e.Problem, e.Detail)
}

// ProblemOf returns the problem that err carries, "" when there is none.
func ProblemOf(err error) KeyProblem {
	var k *KeyError
	if errors.As(err, &k) {
		return k.Problem
	}
	return ""
}

func keyError(p KeyProblem, kid, format string, args ...any) error {
	return &KeyError{Problem: p, KeyID: kid, Detail: fmt.Sprintf(format, args...)}
}

// withKeyID returns err with the id of the key that it is about.
func withKeyID(err error, kid string) error {
	var k *KeyError
	if errors.As(err, &k) && k.KeyID == "" {
		return &KeyError{Problem: k.Problem, KeyID: kid, Detail: k.Detail}
	}
	return err
}

const (
	minRSA = 2048 // bits (RFC 7518 section 3.3)
	maxRSA = 8192 // bits: a verification's cost grows with the square
)

func checkRSA(k *rsa.PublicKey) error {
	if k == nil || k.N == nil || k.N.Sign() <= 0 {
		return keyError(ProblemMalformed, "", "expected an RSA key, got none")
	}
	if bits := k.N.BitLen(); bits < minRSA || bits > maxRSA {
		return keyError(ProblemRSASize, "", "expected RSA with %d to %d bits, got %d", minRSA,
			maxRSA, bits)
	}
	if k.E < 3 || k.E&1 == 0 || int64(k.E) > 1<<31-1 {
		return keyError(ProblemRSAExponent, "",
			"expected an odd exponent from 3 to 2^31-1 (65537 is usual)")
	}
	// What any passer-by can factor signs for any passer-by.
	if hasSmallFactor(k.N) || hasCloseFactors(k.N) || isROCA(k.N) {
		return keyError(ProblemRSAModulus, "",
			"expected a product of two large random primes, got a number that is easily factored")
	}
	return nil
}

var one = big.NewInt(1)

// smallPrimes is the product of all primes below 752.
var smallPrimes = func() *big.Int {
	product := big.NewInt(1)
	for p := int64(2); p < 752; p++ {
		if big.NewInt(p).ProbablyPrime(0) {
			product.Mul(product, big.NewInt(p))
		}
	}
	return product
}()

func hasSmallFactor(n *big.Int) bool {
	return new(big.Int).GCD(nil, nil, n, smallPrimes).Cmp(one) != 0
}

// hasCloseFactors tries Fermat's method a hundred times: keys of some generators fall at once
// (CVE-2022-26320).
func hasCloseFactors(n *big.Int) bool {
	a := new(big.Int).Sqrt(n)
	if new(big.Int).Mul(a, a).Cmp(n) == 0 {
		return true
	}
	rest, root := new(big.Int), new(big.Int)
	for range 100 {
		a.Add(a, one)
		rest.Mul(a, a).Sub(rest, n)
		root.Sqrt(rest)
		if root.Mul(root, root).Cmp(rest) == 0 {
			return true
		}
	}
	return false
}

// isROCA reports whether a key is one of a common smart card library, whose primes are powers of
// 65537 in disguise (CVE-2017-15361): modulo each small prime the modulus is a power of 65537 too.
// Of other keys fewer than one in 2^27 looks like that.
func isROCA(n *big.Int) bool {
	for p := int64(3); p <= 167; p += 2 {
		if !big.NewInt(p).ProbablyPrime(0) {
			continue
		}
		rest := new(big.Int).Mod(n, big.NewInt(p)).Int64()
		power, found := int64(1), false
		for range p {
			found = found || power == rest
			power = power * 65537 % p
		}
		if !found {
			return false
		}
	}
	return true
}

// checkEC returns the curve's algorithm, if the key is a point of a curve that has one.
func checkEC(k *ecdsa.PublicKey) (algorithm, error) {
	if k == nil || k.Curve == nil {
		return algorithm{}, keyError(ProblemMalformed, "", "expected an EC key, got none")
	}
	a, ok := ofCurve(k.Curve)
	if !ok {
		return algorithm{}, keyError(ProblemType, "",
			"expected the curve P-256, P-384 or P-521, got another")
	}
	if _, err := k.Bytes(); err != nil {
		return algorithm{}, keyError(ProblemOffCurve, "", "expected a point of %s", k.Curve.Params().Name)
	}
	if _, err := k.ECDH(); err != nil {
		return algorithm{}, keyError(ProblemOffCurve, "", "expected a point of %s", k.Curve.Params().Name)
	}
	return a, nil
}

func checkEd25519(k ed25519.PublicKey) error {
	if len(k) != ed25519.PublicKeySize {
		return keyError(ProblemMalformed, "", "expected %d bytes of Ed25519 key, got %d",
			ed25519.PublicKeySize, len(k))
	}
	// SetBytes of a point takes a y beyond the field's prime as well (RFC 8032 section 5.1.3 does
	// not), and would so give one key several spellings.
	y, err := new(field.Element).SetBytes(k) // 255 bits: the last one is the sign of x
	if err != nil {
		return keyError(ProblemMalformed, "", "expected an Ed25519 key, got %v", err)
	}
	reduced := y.Bytes()
	reduced[31] |= k[31] & 0x80
	if subtle.ConstantTimeCompare(reduced, k) != 1 {
		return keyError(ProblemMalformed, "", "expected an Ed25519 key in its one spelling")
	}
	point, err := new(edwards25519.Point).SetBytes(k)
	if err != nil {
		return keyError(ProblemOffCurve, "", "expected a point of Ed25519")
	}
	// Under a key whose order divides the cofactor, one signature can be right for many messages.
	if point.MultByCofactor(point).Equal(edwards25519.NewIdentityPoint()) == 1 {
		return keyError(ProblemLowOrder, "", "expected an Ed25519 key that is not of small order")
	}
	return nil
}
