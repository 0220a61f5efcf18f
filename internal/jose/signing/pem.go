package signing

import (
	"crypto"
	"crypto/x509"
	"encoding/asn1"
	"encoding/pem"
	"fmt"

	"github.com/sallyport/sallyport/internal/jose"
)

const pemPrivate = "PRIVATE KEY" // PKCS #8 (RFC 5958)

// ParsePrivatePEM reads one private key in PKCS #8, unencrypted, or an HMAC secret as MarshalPEM
// writes it: one PEM block without headers and nothing but white space around it. Its id is the
// thumbprint; an RSA key signs RS256 (WithAlgorithm changes that).
func ParsePrivatePEM(data []byte) (*PrivateKey, error) {
	block, err := jose.OnePEM(data)
	if err != nil {
		return nil, err
	}
	switch block.Type {
	case jose.PEMSecret:
		return newSecretKey("HS256", block.Bytes)
	case pemPrivate:
		parsed, err := x509.ParsePKCS8PrivateKey(block.Bytes)
		// Whatever stands after the key would be lost when it is written again.
		if err != nil || !oneDER(block.Bytes) {
			return nil, keyError(jose.ProblemMalformed, "",
				"expected a private key in PKCS #8 inside the PEM block")
		}
		signer, ok := parsed.(crypto.Signer)
		if !ok {
			return nil, keyError(jose.ProblemType, "", "expected a key that signs")
		}
		return NewPrivateKey("", "", signer)
	}
	return nil, keyError(jose.ProblemMalformed, "",
		"expected a PEM block %q, got %.32q: convert it with `openssl pkcs8 -topk8 -nocrypt`",
		pemPrivate, block.Type)
}

// oneDER reports whether there is nothing after the value, which x509 would overlook in PKCS #8.
func oneDER(der []byte) bool {
	var value asn1.RawValue
	rest, err := asn1.Unmarshal(der, &value)
	return err == nil && len(rest) == 0
}

// MarshalPEM writes the key in PKCS #8, unencrypted; an HMAC secret in a block of its own type.
func (k *PrivateKey) MarshalPEM() ([]byte, error) {
	if secret, ok := k.key.([]byte); ok {
		return pem.EncodeToMemory(&pem.Block{Type: jose.PEMSecret, Bytes: secret}), nil
	}
	der, err := x509.MarshalPKCS8PrivateKey(k.key)
	if err != nil {
		return nil, fmt.Errorf("jose: marshalling key %s: %w", k.ID(), err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: pemPrivate, Bytes: der}), nil
}
