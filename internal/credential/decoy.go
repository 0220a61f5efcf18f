package credential

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"math"
	"slices"
	"strings"
)

// costs are the kinds of hashes that the users have, and how many of each. For a name that nobody
// has, a hash of one of these kinds is computed, always the same kind, and each kind for as large
// a share of such names as it has among the users: where some users' hashes are of another system
// and take longer or shorter, the time an answer takes tells nothing of whether the user exists.
type costs struct {
	kinds []costKind
	// for choosing; unknown to strangers, and the same in every process that has the same users
	key []byte
}

type costKind struct {
	hash   hash // to compute as a decoy
	weight float64
}

// newCosts counts the kinds of the users' hashes; without any, decoys cost what p asks for.
func newCosts(encoded []string, hashes []hash, p Params) *costs {
	c := &costs{key: chooseKey(encoded)}
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
	// In a fixed order: two kinds with the same score must not change places between processes.
	slices.SortFunc(c.kinds, func(a, b costKind) int {
		x, y := a.hash.cost(), b.hash.cost()
		return strings.Compare(x.algorithm+" "+x.settings, y.algorithm+" "+y.settings)
	})
	return c
}

// chooseKey returns the least digest of the stored hashes: it stays the same when nearly any user
// comes, goes or changes, and who does not know the hashes does not know it.
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
func (c *costs) decoy(name string) hash {
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
