package liveset

import (
	"encoding/binary"
	"math/bits"

	"github.com/sallyport/sallyport/internal/revocation"
)

// digest stands for a name in the set: 128 bits of SipHash-2-4 (Aumasson and Bernstein, "SipHash: a
// fast short-input PRF", with the 128-bit output of its reference code) under a key no token's
// author knows, so that two names share one with a chance of 2^-128 and nobody can look for a pair.
type digest struct{ lo, hi uint64 }

// Key is the key of the digests of a Set: 128 bits from crypto/rand, anything fixed in a model.
type Key struct{ K0, K1 uint64 }

func sipHash128(k Key, p []byte) digest {
	v0, v1 := k.K0^0x736f6d6570736575, k.K1^0x646f72616e646f6d^0xee
	v2, v3 := k.K0^0x6c7967656e657261, k.K1^0x7465646279746573
	last := uint64(len(p)) << 56
	for ; len(p) >= 8; p = p[8:] {
		m := binary.LittleEndian.Uint64(p)
		v3 ^= m
		v0, v1, v2, v3 = sipRound(v0, v1, v2, v3)
		v0, v1, v2, v3 = sipRound(v0, v1, v2, v3)
		v0 ^= m
	}
	for i, b := range p {
		last |= uint64(b) << (8 * i)
	}
	v3 ^= last
	v0, v1, v2, v3 = sipRound(v0, v1, v2, v3)
	v0, v1, v2, v3 = sipRound(v0, v1, v2, v3)
	v0 ^= last
	v2 ^= 0xee
	for range 4 {
		v0, v1, v2, v3 = sipRound(v0, v1, v2, v3)
	}
	lo := v0 ^ v1 ^ v2 ^ v3
	v1 ^= 0xdd
	for range 4 {
		v0, v1, v2, v3 = sipRound(v0, v1, v2, v3)
	}
	return digest{lo, v0 ^ v1 ^ v2 ^ v3}
}

func sipRound(v0, v1, v2, v3 uint64) (uint64, uint64, uint64, uint64) {
	v0 += v1
	v1 = bits.RotateLeft64(v1, 13) ^ v0
	v0 = bits.RotateLeft64(v0, 32)
	v2 += v3
	v3 = bits.RotateLeft64(v3, 16) ^ v2
	v0 += v3
	v3 = bits.RotateLeft64(v3, 21) ^ v0
	v2 += v1
	v1 = bits.RotateLeft64(v1, 17) ^ v2
	v2 = bits.RotateLeft64(v2, 32)
	return v0, v1, v2, v3
}

// digestOf returns the digest of a kind, an issuer and a value; the issuer's length keeps the two
// apart.
func digestOf(k Key, kind revocation.Kind, issuer, value string) digest {
	var array [256]byte
	buf := append(array[:0], byte(kind))
	buf = binary.LittleEndian.AppendUint32(buf, uint32(len(issuer)))
	buf = append(buf, issuer...)
	buf = append(buf, value...)
	return sipHash128(k, buf)
}
