package revocation

import (
	"crypto/sha1"
	"encoding/hex"
	"strconv"
)

// Seed is the chain before the first entry of an epoch: SHA-1 of the epoch as Redis holds it.
func Seed(e Epoch) Chain {
	return sha1.Sum([]byte(e.String()))
}

// After is the chain at e, given the chain at the entry before it: SHA-1 over that chain, e's place
// and its body. The scripts compute the same.
func (e *Entry) After(previous Chain) Chain {
	var array [512]byte
	buf := hex.AppendEncode(array[:0], previous[:])
	buf = append(buf, ':')
	buf = strconv.AppendUint(buf, e.Seq, 10)
	buf = append(buf, ':')
	return sha1.Sum(e.appendBody(buf))
}

// Genesis is the first entry of an epoch, made at Redis' time at (unix milliseconds).
func Genesis(epoch Epoch, at int64) Entry {
	e := Entry{Seq: 1, Kind: KindEpoch, Value: epoch.String(), Expires: at, At: at}
	e.Chain = e.After(Seed(epoch))
	return e
}
