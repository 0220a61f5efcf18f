package josetest

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/hmac"
	"crypto/rand"
	"crypto/rsa"
	_ "crypto/sha256" // for crypto.Hash
	_ "crypto/sha512"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"fmt"

	"github.com/sallyport/sallyport/internal/jose"
)

// Key signs anything as anything.
type Key struct {
	Algorithm string // what the key is for
	ID        string
	Signer    crypto.Signer
}

// NewKey makes a key for ES256, ES384, ES512, EdDSA, or an RSA algorithm (with 2048 bits, of primes
// that everyone knows). An empty kid takes the thumbprint.
func NewKey(alg, kid string) *Key {
	var signer crypto.Signer
	var err error
	switch alg {
	case "ES256":
		signer, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	case "ES384":
		signer, err = ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	case "ES512":
		signer, err = ecdsa.GenerateKey(elliptic.P521(), rand.Reader)
	case "EdDSA":
		_, signer, err = ed25519.GenerateKey(rand.Reader)
	default:
		signer = newRSA()
	}
	must(err)
	return newKey(alg, kid, signer)
}

// FromPEM reads a private key in PKCS #8, such as those of a key ring that is not encrypted. An
// empty kid takes the thumbprint.
func FromPEM(alg, kid string, data []byte) *Key {
	block, _ := pem.Decode(data)
	if block == nil {
		panic("josetest: expected PEM, got none")
	}
	key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	must(err)
	return newKey(alg, kid, key.(crypto.Signer))
}

func newKey(alg, kid string, signer crypto.Signer) *Key {
	k := &Key{Algorithm: alg, ID: kid, Signer: signer}
	k.ID = k.Public().ID()
	return k
}

// Public is the key as a gate has it.
func (k *Key) Public() *jose.PublicKey {
	p, err := jose.NewPublicKey(k.Algorithm, k.ID, k.Signer.Public())
	must(err)
	return p
}

// Header is an honest header in JSON.
func (k *Key) Header(typ string) Object {
	return Object{{"alg", Text(k.Algorithm)}, {"kid", Text(k.ID)}, {"typ", Text(typ)}}
}

// Token signs header and claims, both JSON as they stand, with the key's algorithm, whatever the
// header says.
func (k *Key) Token(header, claims string) string {
	input := Encode(header) + "." + Encode(claims)
	return input + "." + Encode(string(k.Sign(k.Algorithm, input)))
}

// Sign signs input by an algorithm of the key's family.
func (k *Key) Sign(alg, input string) []byte {
	if ed, ok := k.Signer.(ed25519.PrivateKey); ok {
		return ed25519.Sign(ed, []byte(input))
	}
	h := hash(alg)
	d := h.New()
	d.Write([]byte(input))
	digest := d.Sum(nil)
	switch s := k.Signer.(type) {
	case *ecdsa.PrivateKey:
		der, err := ecdsa.SignASN1(rand.Reader, s, digest)
		must(err)
		return rawSignature(der, (s.Params().BitSize+7)/8)
	case *rsa.PrivateKey:
		var opts crypto.SignerOpts = h
		if alg[0] == 'P' {
			opts = &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash, Hash: h}
		}
		sig, err := s.Sign(rand.Reader, digest, opts)
		must(err)
		return sig
	}
	panic(fmt.Sprintf("josetest: expected an EC, RSA or Ed25519 key, got %T", k.Signer))
}

// MAC signs header and claims with a secret, by HMAC.
func MAC(alg, header, claims string, secret []byte) string {
	input := Encode(header) + "." + Encode(claims)
	m := hmac.New(hash(alg).New, secret)
	m.Write([]byte(input))
	return input + "." + Encode(string(m.Sum(nil)))
}

func hash(alg string) crypto.Hash {
	switch alg[len(alg)-3:] {
	case "384":
		return crypto.SHA384
	case "512":
		return crypto.SHA512
	}
	return crypto.SHA256
}

// Encode is base64url without padding.
func Encode(s string) string { return base64.RawURLEncoding.EncodeToString([]byte(s)) }

// Decode undoes Encode.
func Decode(s string) string {
	b, err := base64.RawURLEncoding.DecodeString(s)
	must(err)
	return string(b)
}

func must(err error) {
	if err != nil {
		panic("josetest: " + err.Error())
	}
}
