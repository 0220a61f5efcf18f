package jose

import (
	"bytes"
	"crypto"
	"crypto/x509"
	"encoding/asn1"
	"encoding/pem"
	"fmt"
)

const (
	pemPrivate = "PRIVATE KEY" // PKCS #8 (RFC 5958)
	pemPublic  = "PUBLIC KEY"  // SubjectPublicKeyInfo (RFC 5280 section 4.1)
	pemSecret  = "HMAC SECRET KEY"
)

// ParsePrivatePEM reads one private key in PKCS #8, unencrypted, or an HMAC secret as MarshalPEM
// writes it: one PEM block without headers and nothing but white space around it. Its id is the
// thumbprint; an RSA key signs RS256 (WithAlgorithm changes that).
func ParsePrivatePEM(data []byte) (*PrivateKey, error) {
	block, err := onePEM(data)
	if err != nil {
		return nil, err
	}
	switch block.Type {
	case pemSecret:
		if err := checkSecret(block.Bytes); err != nil {
			return nil, err
		}
		return newSecretKey("HS256", "", block.Bytes)
	case pemPrivate:
		parsed, err := x509.ParsePKCS8PrivateKey(block.Bytes)
		if err != nil || !oneDER(block.Bytes) {
			return nil, keyError(ProblemMalformed, "",
				"expected a private key in PKCS #8 inside the PEM block")
		}
		signer, ok := parsed.(crypto.Signer)
		if !ok {
			return nil, keyError(ProblemType, "", "expected a key that signs")
		}
		return NewPrivateKey("", "", signer)
	}
	return nil, keyError(
		ProblemMalformed,
		"",
		"expected a PEM block %q, got %.32q: convert it with `openssl pkcs8 -topk8 -nocrypt`",
		pemPrivate,
		block.Type,
	)
}

// ParsePublicPEM reads one public key (SubjectPublicKeyInfo). Its id is the thumbprint; an RSA key
// is free among RSA's algorithms.
func ParsePublicPEM(data []byte) (*PublicKey, error) {
	block, err := onePEM(data)
	if err != nil {
		return nil, err
	}
	if block.Type != pemPublic {
		return nil, keyError(ProblemMalformed, "", "expected a PEM block %q, got %.32q",
			pemPublic, block.Type)
	}
	key, err := x509.ParsePKIXPublicKey(block.Bytes)
	if err != nil {
		return nil, keyError(ProblemMalformed, "", "expected a public key inside the PEM block")
	}
	return NewPublicKey("", "", key)
}

// onePEM wants one block without headers, and only white space around it.
func onePEM(data []byte) (*pem.Block, error) {
	block, rest := pem.Decode(data)
	switch {
	case block == nil:
		return nil, keyError(ProblemMalformed, "", "expected PEM, got none")
	case bytes.Count(data, []byte("-----BEGIN")) != 1:
		// pem.Decode would skip a damaged block and take the next.
		return nil, keyError(ProblemMalformed, "", "expected one PEM block, got more")
	case !bytes.HasPrefix(bytes.TrimSpace(data), []byte("-----BEGIN "+block.Type+"-----")):
		return nil, keyError(ProblemMalformed, "", "expected nothing before the PEM block")
	case len(bytes.TrimSpace(rest)) != 0:
		return nil, keyError(ProblemMalformed, "", "expected one PEM block and nothing after it")
	case len(block.Headers) != 0:
		return nil, keyError(ProblemMalformed, "",
			"expected a PEM block without headers (an encrypted one in the old style has them)")
	}
	return block, nil
}

// oneDER wants nothing after the value, which x509 would overlook in PKCS #8.
func oneDER(der []byte) bool {
	var value asn1.RawValue
	rest, err := asn1.Unmarshal(der, &value)
	return err == nil && len(rest) == 0
}

// MarshalPEM writes the key in PKCS #8, unencrypted; an HMAC secret in a block of its own type.
func (k *PrivateKey) MarshalPEM() ([]byte, error) {
	if secret, ok := k.key.([]byte); ok {
		return pem.EncodeToMemory(&pem.Block{Type: pemSecret, Bytes: secret}), nil
	}
	der, err := x509.MarshalPKCS8PrivateKey(k.key)
	if err != nil {
		return nil, fmt.Errorf("jose: marshalling key %s: %w", k.ID(), err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: pemPrivate, Bytes: der}), nil
}

// WithAlgorithm gives the same key under the same id for another algorithm of its family, as PS256
// for an RSA key.
func (k *PrivateKey) WithAlgorithm(alg string) (*PrivateKey, error) {
	a, ok := algorithms[alg]
	if !ok || !k.public.key.fits(a) {
		return nil, keyError(ProblemAlgorithm, k.ID(), "expected an algorithm for this type of key")
	}
	return &PrivateKey{
		public: &PublicKey{id: k.public.id, alg: alg, key: k.public.key}, key: k.key,
	}, nil
}

// WithID gives the same key under another id.
func (k *PrivateKey) WithID(kid string) (*PrivateKey, error) {
	if !writableKeyID(kid) {
		return nil, keyError(ProblemKeyID, "",
			"expected a kid of 1 to %d letters, digits and -_.~:/+=", maxKeyID)
	}
	return &PrivateKey{
		public: &PublicKey{id: kid, alg: k.public.alg, key: k.public.key}, key: k.key,
	}, nil
}
