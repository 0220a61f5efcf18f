package revocation

import (
	"crypto/sha1"
	"encoding/hex"
	"strconv"
)

// Seed is the chain before the first entry of an epoch: SHA-1 of the epoch as Redis holds it.
func Seed(e Epoch) Chain { return sha1.Sum([]byte(e.String())) }

// After is the chain at e, given the chain at the entry before it: SHA-1 over that chain, e's place and its fields, each
// but the first with its length before it. The scripts compute the same.
func (e *Entry) After(previous Chain) Chain {
	var array [512]byte
	buf := hex.AppendEncode(array[:0], previous[:])
	buf = append(buf, ':')
	buf = strconv.AppendUint(buf, e.Seq, 10)
	buf = appendNumber(buf, Version)
	buf = appendField(buf, e.Kind.String())
	buf = appendField(buf, e.Issuer)
	buf = appendField(buf, e.Value)
	buf = appendNumber(buf, e.IssuedBefore)
	buf = appendNumber(buf, e.Expires)
	buf = appendField(buf, e.Reason)
	buf = appendField(buf, e.Actor)
	buf = appendNumber(buf, e.At)
	return sha1.Sum(buf)
}

func appendField(buf []byte, s string) []byte {
	buf = append(buf, ':')
	buf = strconv.AppendInt(buf, int64(len(s)), 10)
	buf = append(buf, ':')
	return append(buf, s...)
}

func appendNumber(buf []byte, n int64) []byte {
	var array [20]byte
	digits := strconv.AppendInt(array[:0], n, 10)
	buf = append(buf, ':')
	buf = strconv.AppendInt(buf, int64(len(digits)), 10)
	buf = append(buf, ':')
	return append(buf, digits...)
}

// Genesis is the first entry of an epoch, made at Redis' time at (unix milliseconds).
func Genesis(epoch Epoch, at int64) Entry {
	e := Entry{Seq: 1, Kind: KindEpoch, Value: epoch.String(), Expires: at, At: at}
	e.Chain = e.After(Seed(epoch))
	return e
}
