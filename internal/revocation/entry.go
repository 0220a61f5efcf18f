package revocation

import (
	"crypto/sha1"
	"encoding/hex"
	"errors"
	"fmt"
	"strconv"
)

// Epoch names one life of the log: 128 random bits.
type Epoch [16]byte

// Chain is the hash that ties an entry to all before it in its epoch. It finds divergence; it is no seal.
type Chain [sha1.Size]byte

// String is the epoch as 32 hexadecimal digits, as Redis holds it; empty for the zero Epoch.
func (e Epoch) String() string {
	if e == (Epoch{}) {
		return ""
	}
	return hex.EncodeToString(e[:])
}

// String is the chain as 40 hexadecimal digits, as Redis holds it; empty for the zero Chain.
func (c Chain) String() string {
	if c == (Chain{}) {
		return ""
	}
	return hex.EncodeToString(c[:])
}

// ParseEpoch reads 32 lower-case hexadecimal digits.
func ParseEpoch(s string) (e Epoch, err error) {
	err = parseHex(e[:], s)
	return e, err
}

// ParseChain reads 40 lower-case hexadecimal digits.
func ParseChain(s string) (c Chain, err error) {
	err = parseHex(c[:], s)
	return c, err
}

func parseHex(dst []byte, s string) error {
	if len(s) != 2*len(dst) {
		return fmt.Errorf("revocation: expected %d hexadecimal digits, got %d characters", 2*len(dst), len(s))
	}
	for i := range dst {
		hi, lo := hexDigit(s[2*i]), hexDigit(s[2*i+1])
		if hi > 15 || lo > 15 {
			return errors.New("revocation: expected lower-case hexadecimal digits")
		}
		dst[i] = hi<<4 | lo
	}
	return nil
}

func hexDigit(c byte) byte {
	switch {
	case '0' <= c && c <= '9':
		return c - '0'
	case 'a' <= c && c <= 'f':
		return c - 'a' + 10
	}
	return 255
}

// Position is where a process stands on a log: what it has applied. The zero Position is nowhere.
type Position struct {
	Epoch Epoch
	Seq   uint64
	Chain Chain
}

// Version is the version of the entries this code writes and the only one it reads.
const Version = 1

// Entry is one revocation in the log. Times are Redis' time in unix milliseconds.
type Entry struct {
	Seq          uint64 // its place in the epoch, from 1; 0 when it has none yet
	Kind         Kind
	Issuer       string
	Value        string
	IssuedBefore int64 // the cutoff of kinds that have one, else 0
	Expires      int64 // from here on, no token it names is valid anyway
	Reason       string
	Actor        string
	At           int64 // when it was made
	Chain        Chain
}

// Fields are an entry's stored fields in their fixed order, without the chain.
type Fields [9]string

// FieldNames are the names of Fields in the stream, followed there by the chain's, "c".
var FieldNames = [len(Fields{})]string{"v", "k", "i", "n", "b", "x", "r", "a", "t"}

// ChainField is the name of the chain's field in the stream.
const ChainField = "c"

// Fields are the entry as it is stored.
func (e *Entry) Fields() Fields {
	return Fields{
		strconv.Itoa(Version), e.Kind.String(), e.Issuer, e.Value, strconv.FormatInt(e.IssuedBefore, 10),
		strconv.FormatInt(e.Expires, 10), e.Reason, e.Actor, strconv.FormatInt(e.At, 10),
	}
}

// Decode reads an entry as it is stored. Whatever this version cannot read to the last field gives an entry of kind 0,
// which no replica applies or skips.
func Decode(seq uint64, f *Fields, chain string) Entry {
	unknown := Entry{Seq: seq}
	kind, err := ParseKind(f[1])
	if err != nil || f[0] != strconv.Itoa(Version) {
		return unknown
	}
	e := Entry{Seq: seq, Kind: kind, Issuer: f[2], Value: f[3], Reason: f[6], Actor: f[7]}
	for i, dst := range map[int]*int64{4: &e.IssuedBefore, 5: &e.Expires, 8: &e.At} {
		if *dst, err = parseMillis(f[i]); err != nil {
			return unknown
		}
	}
	if e.Chain, err = ParseChain(chain); err != nil {
		return unknown
	}
	return e
}

// maxMillis is 100 years after 1970 twice over: the largest time an entry can hold.
const maxMillis = 1 << 42

func parseMillis(s string) (int64, error) {
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil || n < 0 || n >= maxMillis || strconv.FormatInt(n, 10) != s {
		return 0, errors.New("revocation: expected a time in milliseconds")
	}
	return n, nil
}

// bare is the entry without its place in a log: what makes two entries the same revocation.
func (e Entry) bare() Entry {
	e.Seq, e.Chain = 0, Chain{}
	return e
}
