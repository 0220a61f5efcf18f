package credential

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"math"
	"slices"
	"strings"
)

// Costs says what kinds of hashes a directory has, and how many of each. A name that nobody has
// gets a hash of one of these kinds to compute, always the same one, as often as users have them:
// where some users' hashes are of another system and take longer or shorter, the time an answer
// takes says nothing of whether the user exists.
type Costs struct {
	kinds []costKind
	// for choosing; unknown to strangers, and the same in every process that has the same users
	key []byte
}

type costKind struct {
	hash   hash // to compute as a decoy
	weight float64
}

// newCosts counts the costs of accounts; without any, decoys cost what p says.
func newCosts(encoded []string, hashes []hash, p Params) *Costs {
	c := &Costs{key: chooseKey(encoded)}
	weights := map[cost]int{}
	sample := map[cost]hash{}
	for _, h := range hashes {
		weights[h.cost()]++
		sample[h.cost()] = h
	}
	if len(hashes) == 0 {
		none := newPad(p)
		weights[none.cost()], sample[none.cost()] = 1, none
	}
	for k, h := range sample {
		c.kinds = append(c.kinds, costKind{hash: h, weight: float64(weights[k])})
	}
	slices.SortFunc(c.kinds, func(a, b costKind) int {
		x, y := a.hash.cost(), b.hash.cost()
		return strings.Compare(x.algorithm+" "+x.settings, y.algorithm+" "+y.settings)
	})
	return c
}

// chooseKey is the least digest of the stored hashes: it stays the same when other users come, go
// or change, and who does not know the hashes does not know it.
func chooseKey(encoded []string) []byte {
	least := ""
	for _, e := range encoded {
		sum := sha256.Sum256([]byte("decoy\x00" + e))
		if least == "" || string(sum[:]) < least {
			least = string(sum[:])
		}
	}
	return []byte(least)
}

// decoy returns a hash to compute for a name that nobody has. Whether it matches means nothing.
func (c *Costs) decoy(name string) hash {
	best, score := 0, math.Inf(1)
	for i, k := range c.kinds {
		// Rendezvous hashing: a kind keeps its names when the others' weights change.
		work := k.hash.cost()
		mac := hmac.New(sha256.New, c.key)
		mac.Write([]byte(work.algorithm + " " + work.settings + "\x00" + name))
		u := (float64(binary.BigEndian.Uint64(mac.Sum(nil))>>11) + 0.5) / (1 << 53)
		if s := -math.Log(u) / k.weight; s < score {
			best, score = i, s
		}
	}
	return c.kinds[best].hash
}
