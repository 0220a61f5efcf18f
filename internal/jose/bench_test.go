package jose_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/asn1"
	"fmt"
	"math/big"
	"strings"
	"testing"

	"github.com/sallyport/sallyport/internal/jose"
	"github.com/sallyport/sallyport/internal/jose/josetest"
)

// BenchmarkVerify puts the judging of a whole token beside the bare signature check of the standard
// library, with hash and encoding of the signature done beforehand: what we add should be at most a
// fifth, and at most a quarter of another issuer's: with blanks in its header, as Keycloak writes
// it, and with a header that is another in each token, as Entra's nonce makes it.
func BenchmarkVerify(b *testing.B) {
	for _, alg := range []string{"ES256", "EdDSA", "RS256"} {
		s := setup(alg)
		d := newDoor(s.Key)
		compact := s.Good()
		b.Run(alg+"/bare", func(b *testing.B) { bare(b, s.Key.Signer.Public(), compact) })
		b.Run(alg+"/whole", func(b *testing.B) { whole(b, d, compact) })
		foreign := newForeignDoor(s.Key)
		b.Run(alg+"/whole, of others", func(b *testing.B) { whole(b, foreign, respelt(s, "", " : ")) })
		several := make([]string, 256)
		for i := range several {
			several[i] = respelt(s, fmt.Sprintf(`"nonce":"%032d",`, i), ":")
		}
		b.Run(alg+"/whole, each header another", func(b *testing.B) { whole(b, foreign, several...) })
	}
}

// respelt is the good token with more in its header, and with other colons.
func respelt(s josetest.Setup, more, colon string) string {
	header := s.Key.Header("at+jwt").JSON()
	return s.Key.Token("{"+more+strings.ReplaceAll(header[1:], ":", colon), s.Claims.JSON())
}

func whole(b *testing.B, d *door, compact ...string) {
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		if _, err := d.judge(compact[i%len(compact)]); err != nil {
			b.Fatal(err)
		}
	}
}

func bare(b *testing.B, key crypto.PublicKey, compact string) {
	p, err := jose.Parse(compact)
	if err != nil {
		b.Fatal(err)
	}
	input, digest := []byte(p.SigningInput), sha256.Sum256([]byte(p.SigningInput))
	var check func() bool
	switch k := key.(type) {
	case *ecdsa.PublicKey:
		der, err := asn1.Marshal(
			struct{ R, S *big.Int }{
				new(big.Int).SetBytes(p.Signature[:32]),
				new(big.Int).SetBytes(p.Signature[32:]),
			},
		)
		if err != nil {
			b.Fatal(err)
		}
		check = func() bool { return ecdsa.VerifyASN1(k, digest[:], der) }
	case ed25519.PublicKey:
		check = func() bool { return ed25519.Verify(k, input, p.Signature) }
	case *rsa.PublicKey:
		check = func() bool { return rsa.VerifyPKCS1v15(k, crypto.SHA256, digest[:], p.Signature) == nil }
	}
	b.ReportAllocs()
	for b.Loop() {
		if !check() {
			b.Fatal("the signature is not right")
		}
	}
}

// BenchmarkParse is reading alone, of a header that is remembered and of one that is not.
func BenchmarkParse(b *testing.B) {
	s := setup("ES256")
	compact := s.Good()
	d := newDoor(s.Key)
	b.Run("new header", func(b *testing.B) { parse(b, d.reader, compact) })
	if _, err := d.judge(compact); err != nil {
		b.Fatal(err)
	}
	b.Run("remembered header", func(b *testing.B) { parse(b, d.reader, compact) })
}

func parse(b *testing.B, r *jose.Reader, compact string) {
	b.ReportAllocs()
	for b.Loop() {
		p, err := r.Parse(compact)
		if err != nil {
			b.Fatal(err)
		}
		if _, err := p.Issuer(); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkRefuse is what a stranger's garbage costs, up to the signature check.
func BenchmarkRefuse(b *testing.B) {
	s := setup("ES256")
	d := newDoor(s.Key)
	for _, a := range s.Attacks() {
		switch a.Name {
		case "a million dots",
			"kid of another key",
			"claims nested deeply",
			"jwk of the thief",
			"signature by another's key":
			b.Run(a.Name, func(b *testing.B) {
				b.ReportAllocs()
				for b.Loop() {
					if _, err := d.judge(a.Token); err == nil {
						b.Fatal("accepted")
					}
				}
			})
		}
	}
}

func BenchmarkSign(b *testing.B) {
	for _, alg := range []string{"ES256", "EdDSA", "RS256"} {
		s := setup(alg)
		key, claims := honest(b, s.Key), []byte(s.Claims.JSON())
		b.Run(alg, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := key.Sign("at+jwt", claims); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
