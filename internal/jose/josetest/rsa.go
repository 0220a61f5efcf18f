package josetest

import (
	"crypto/rsa"
	_ "embed"
	"math/big"
	"strings"
	"sync/atomic"
)

// primes of 1024 bits, one a line in hexadecimal. Keys made of them are known to everyone who has
// the source: for tests, which would otherwise spend most of their time on finding primes.
//
//go:embed primes.txt
var primes string

var nextPair atomic.Uint64

// newRSA returns another key of 2048 bits at each of 28 calls, then the same ones again.
func newRSA() *rsa.PrivateKey {
	lines := strings.Fields(primes)
	var pairs [][2]*big.Int
	for i := range lines {
		for j := range i {
			pairs = append(pairs, [2]*big.Int{fromHex(lines[i]), fromHex(lines[j])})
		}
	}
	pair := pairs[(nextPair.Add(1)-1)%uint64(len(pairs))]
	one, e := big.NewInt(1), 65537
	p1, q1 := new(big.Int).Sub(pair[0], one), new(big.Int).Sub(pair[1], one)
	key := &rsa.PrivateKey{
		PublicKey: rsa.PublicKey{N: new(big.Int).Mul(pair[0], pair[1]), E: e},
		D:         new(big.Int).ModInverse(big.NewInt(int64(e)), new(big.Int).Mul(p1, q1)),
		Primes:    pair[:],
	}
	key.Precompute()
	must(key.Validate())
	return key
}

func fromHex(s string) *big.Int {
	n, ok := new(big.Int).SetString(s, 16)
	if !ok {
		panic("josetest: expected a prime in hexadecimal")
	}
	return n
}
