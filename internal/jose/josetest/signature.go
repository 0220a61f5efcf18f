package josetest

import (
	"crypto/ecdsa"
	"encoding/asn1"
	"math/big"
	"strings"
)

type ecSignature struct{ R, S *big.Int }

// rawSignature turns ASN.1 into r and s side by side.
func rawSignature(der []byte, size int) []byte {
	var sig ecSignature
	_, err := asn1.Unmarshal(der, &sig)
	must(err)
	return joinRS(sig.R, sig.S, size)
}

func joinRS(r, s *big.Int, size int) []byte {
	out := make([]byte, 2*size)
	r.FillBytes(out[:size])
	s.FillBytes(out[size:])
	return out
}

// Twin returns the other signature (r, n-s) of a token signed by an EC key: as good as the first,
// and other bytes.
func Twin(k *Key, compact string) string {
	input, r, s := splitEC(k, compact)
	s.Sub(order(k), s)
	return input + "." + Encode(string(joinRS(r, s, size(k))))
}

func splitEC(k *Key, compact string) (input string, r, s *big.Int) {
	dot := strings.LastIndexByte(compact, '.')
	sig := Decode(compact[dot+1:])
	n := size(k)
	return compact[:dot], new(
			big.Int,
		).SetBytes([]byte(sig[:n])),
		new(big.Int).SetBytes([]byte(sig[n:]))
}

func isEC(k *Key) bool {
	_, ok := k.Signer.(*ecdsa.PrivateKey)
	return ok
}

func order(k *Key) *big.Int { return new(big.Int).Set(k.Signer.(*ecdsa.PrivateKey).Params().N) }

func size(k *Key) int { return (k.Signer.(*ecdsa.PrivateKey).Params().BitSize + 7) / 8 }

// ecSignatures are signatures of an EC key that are none: zero and out of range (CVE-2022-21449),
// ASN.1, too short, too long.
func ecSignatures(k *Key, good string) map[string]string {
	input, r, s := splitEC(k, good)
	n, zero, z := order(k), new(big.Int), size(k)
	over := new(big.Int).Add(r, n)
	der, err := asn1.Marshal(ecSignature{r, s})
	must(err)
	raw := string(joinRS(r, s, z))
	// so that a number that needs one byte more still is one that cannot be right
	fits := func(x *big.Int) *big.Int {
		if x.BitLen() > 8*z {
			return n
		}
		return x
	}
	all := map[string]string{
		"der":                       string(der),
		"r and s zero":              string(joinRS(zero, zero, z)),
		"r zero":                    string(joinRS(zero, s, z)),
		"s zero":                    string(joinRS(r, zero, z)),
		"r is n":                    string(joinRS(n, s, z)),
		"s is n":                    string(joinRS(r, n, z)),
		"r and s n":                 string(joinRS(n, n, z)),
		"r plus n":                  string(joinRS(fits(over), s, z)),
		"r plus n, one byte longer": string(over.FillBytes(make([]byte, z+1))) + raw[z:],
		"swapped":                   raw[z:] + raw[:z],
		"short":                     raw[:len(raw)-1],
		"long":                      raw + "\x00",
		"padded inside":             "\x00" + raw[:z] + "\x00" + raw[z:],
		"r alone":                   raw[:z],
	}
	for name, sig := range all {
		all[name] = input + "." + Encode(sig)
	}
	return all
}
