package josetest

import (
	"bytes"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"sort"
	"strings"

	"github.com/sallyport/sallyport/internal/jose"
	"github.com/sallyport/sallyport/internal/token"
)

// AlgorithmAttacks confuse which algorithm and what kind of key it is.
func (s Setup) AlgorithmAttacks() []Attack {
	h, claims := s.header(), s.Claims.JSON()
	_, _, signature := s.parts()
	var all []Attack
	for _, none := range []string{"none", "None", "NONE", "nOnE", " none", "none "} {
		unsigned := Encode(h.With("alg", Text(none)).JSON()) + "." + Encode(claims) + "."
		all = append(
			all,
			Attack{"alg " + none + ", no signature", unsigned, token.ReasonAlgNone},
			Attack{"alg " + none + ", copied signature", unsigned + signature, token.ReasonAlgNone},
			Attack{"alg " + none + ", two parts", strings.TrimSuffix(unsigned, "."), token.ReasonSegments},
			s.withHeader("alg "+none+", good signature", h.With("alg", Text(none)).JSON(),
				token.ReasonAlgNone),
		)
	}
	all = append(all, s.withHeader("alg missing", h.Without("alg").JSON(), token.ReasonAlgMissing))
	for _, raw := range []string{`""`, `256`, `null`, `true`, `["ES256"]`, `{"alg":"ES256"}`} {
		all = append(all, s.withHeader("alg "+raw, h.With("alg", raw).JSON(), token.ReasonAlgMissing))
	}
	for _, alg := range []string{
		strings.ToLower(s.Key.Algorithm), s.Key.Algorithm + " ", "ES256K", "ES1", "RSA1_5", "dir",
		"PBES2-HS256+A128KW",
	} {
		all = append(all, s.withHeader("alg "+alg, h.With("alg", Text(alg)).JSON(), token.ReasonAlg))
	}
	for _, other := range []string{"ES256", "ES384", "EdDSA", "RS256", "PS256"} {
		if other != s.Key.Algorithm {
			thief := NewKey(other, s.Key.ID)
			all = append(
				all,
				Attack{
					"another's key for " + other,
					thief.Token(h.With("alg", Text(other)).JSON(), claims),
					token.ReasonAlg,
				},
			)
		}
	}
	return append(all, s.confusedSecrets()...)
}

// confusedSecrets are tokens whose HMAC secret is the issuer's public key, in every spelling that a
// reader might hold it in.
func (s Setup) confusedSecrets() []Attack {
	var all []Attack
	for name, secret := range PublicSpellings(s.Key) {
		for _, alg := range []string{"HS256", "HS384", "HS512"} {
			all = append(
				all,
				Attack{
					alg + " keyed with " + name,
					MAC(alg, s.header().With("alg", Text(alg)).JSON(), s.Claims.JSON(), secret),
					token.ReasonAlg,
				},
			)
		}
	}
	sort.Slice(all, func(i, j int) bool { return all[i].Name < all[j].Name })
	return append(
		all,
		Attack{
			"HS256 keyed with nothing",
			MAC("HS256", s.header().With("alg", `"HS256"`).JSON(), s.Claims.JSON(), nil),
			token.ReasonAlg,
		},
	)
}

// PublicSpellings are the ways to write a key that everyone knows: none may serve as an HMAC
// secret.
func PublicSpellings(k *Key) map[string][]byte {
	der, err := x509.MarshalPKIXPublicKey(k.Signer.Public())
	must(err)
	text := pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})
	set, err := jose.MarshalKeySet([]*jose.PublicKey{k.Public()})
	must(err)
	jwk := ParseObject(string(set)).Get("keys")
	jwk = strings.TrimSuffix(strings.TrimPrefix(jwk, "["), "]")
	var reordered Object
	for _, m := range ParseObject(jwk) {
		reordered = append(Object{m}, reordered...)
	}
	var indented bytes.Buffer
	must(json.Indent(&indented, []byte(jwk), "", "\t"))
	all := map[string][]byte{
		"PEM":                 text,
		"PEM without newline": bytes.TrimSpace(text),
		"PEM with CRLF":       bytes.ReplaceAll(text, []byte("\n"), []byte("\r\n")),
		"PEM after a space":   append([]byte(" "), text...),
		"PEM after newlines":  append([]byte("\n\n"), text...),
		"PEM's inside": []byte(
			strings.Join(
				strings.Split(string(text), "\n")[1:len(strings.Split(string(text), "\n"))-2],
				"\n"),
		),
		"PEM in base64": []byte(base64.StdEncoding.EncodeToString(text)),
		"DER":           der,
		"DER in base64": []byte(base64.StdEncoding.EncodeToString(der)),
		"JWK":           []byte(jwk),
		"JWK reordered": []byte(reordered.JSON()),
		"JWK indented":  indented.Bytes(),
		"JWK Set":       set,
		"JWK in base64": []byte(Encode(jwk)),
		"SSH": []byte(
			"ssh-ed25519 " + base64.StdEncoding.EncodeToString(
				append([]byte("\x00\x00\x00\x0bssh-ed25519\x00\x00\x00\x20"), make([]byte, 32)...)) + " alice@example.com",
		),
		"SSH without its name": []byte(
			base64.StdEncoding.EncodeToString(
				append([]byte("\x00\x00\x00\x0bssh-ed25519\x00\x00\x00\x20"), make([]byte, 32)...)),
		),
		"SSH of a P-256 key": []byte(
			"ecdsa-sha2-nistp256 AAAAE2VjZHNhLXNoYTItbmlzdHAyNTYAAAAIbmlzdHAyNTYAAABBBA== bob"),
		"PEM with a byte order mark": append([]byte("\xef\xbb\xbf"), text...),
	}
	if r, ok := k.Signer.Public().(*rsa.PublicKey); ok {
		pkcs1 := x509.MarshalPKCS1PublicKey(r)
		all["PKCS #1"] = pkcs1
		all["PKCS #1 in PEM"] = pem.EncodeToMemory(&pem.Block{Type: "RSA PUBLIC KEY", Bytes: pkcs1})
	}
	return all
}
