package revocation

import (
	"cmp"
	"crypto/sha1"
	"encoding/hex"
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// Epoch names one life of the log: 128 random bits.
type Epoch [16]byte

// Chain is the hash that ties an entry to all before it in its epoch. It finds divergence; it is no
// seal.
type Chain [sha1.Size]byte

// String returns the epoch as 32 hexadecimal digits, as Redis holds it; empty for the zero Epoch.
func (e Epoch) String() string {
	if e == (Epoch{}) {
		return ""
	}
	return hex.EncodeToString(e[:])
}

// String returns the chain as 40 hexadecimal digits, as Redis holds it; empty for the zero Chain.
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
		return fmt.Errorf("revocation: expected %d hexadecimal digits, got %d characters",
			2*len(dst), len(s))
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
	Expires      int64 // from here on no token that it names is valid anyway
	Reason       string
	Actor        string
	At           int64 // when it was made
	Chain        Chain
}

// The names of an entry's two fields in the stream: its body and its chain.
const (
	BodyField  = "e"
	ChainField = "c"
)

// separator stands between the fields of a body. No field can hold it: none may hold a control
// character.
const separator = '\t'

// Body returns the entry as it is stored: version, kind, issuer, value, issued_before, expires,
// reason, actor, time.
func (e *Entry) Body() string { return string(e.appendBody(nil)) }

func (e *Entry) appendBody(buf []byte) []byte {
	buf = strconv.AppendInt(buf, Version, 10)
	for _, s := range [...]string{e.Kind.String(), e.Issuer, e.Value} {
		buf = append(append(buf, separator), s...)
	}
	buf = strconv.AppendInt(append(buf, separator), e.IssuedBefore, 10)
	buf = strconv.AppendInt(append(buf, separator), e.Expires, 10)
	for _, s := range [...]string{e.Reason, e.Actor} {
		buf = append(append(buf, separator), s...)
	}
	return strconv.AppendInt(append(buf, separator), e.At, 10)
}

// Decode reads an entry as it is stored. For whatever this version cannot read to the last field it
// returns an entry of kind 0, which no copy applies or skips.
func Decode(seq uint64, body, chain string) Entry {
	unknown := Entry{Seq: seq}
	var f [9]string
	for i := range f {
		var more bool
		// A tenth field is refused, too: it may say what this version must not overlook.
		f[i], body, more = strings.Cut(body, string(separator))
		if more != (i < len(f)-1) {
			return unknown
		}
	}
	e := Entry{Seq: seq, Issuer: f[2], Value: f[3], Reason: f[6], Actor: f[7]}
	var err [5]error
	e.Kind, err[0] = ParseKind(f[1])
	e.IssuedBefore, err[1] = parseMillis(f[4])
	e.Expires, err[2] = parseMillis(f[5])
	e.At, err[3] = parseMillis(f[8])
	e.Chain, err[4] = ParseChain(chain)
	if f[0] != strconv.Itoa(Version) || err != [5]error{} {
		return unknown
	}
	return e
}

// Seed returns the chain before the first entry of an epoch: SHA-1 of the epoch as Redis holds it.
func Seed(e Epoch) Chain {
	return sha1.Sum([]byte(e.String()))
}

// After returns the chain at e, given the chain at the entry before it: SHA-1 over that chain, e's
// place and its body. The scripts compute the same.
func (e *Entry) After(previous Chain) Chain {
	var array [512]byte
	buf := hex.AppendEncode(array[:0], previous[:])
	buf = append(buf, ':')
	buf = strconv.AppendUint(buf, e.Seq, 10)
	buf = append(buf, ':')
	return sha1.Sum(e.appendBody(buf))
}

// Genesis returns the first entry of an epoch, made at Redis' time at (unix milliseconds).
func Genesis(epoch Epoch, at int64) Entry {
	e := Entry{Seq: 1, Kind: KindEpoch, Value: epoch.String(), Expires: at, At: at}
	e.Chain = e.After(Seed(epoch))
	return e
}

// MaxMillis bounds the times an entry can hold: more than 130 years after 1970.
const MaxMillis = 1 << 42

var errMillis = errors.New("revocation: expected a time in milliseconds")

func parseMillis(s string) (int64, error) {
	n := int64(0)
	// One spelling of each number, or the chain would be computed over another body than Redis has.
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' || i == 13 || i == 1 && s[0] == '0' {
			return 0, errMillis
		}
		n = 10*n + int64(s[i]-'0')
	}
	if s == "" || n >= MaxMillis {
		return 0, errMillis
	}
	return n, nil
}

// bare returns the entry without its place in a log: what makes two entries the same revocation.
func (e Entry) bare() Entry {
	e.Seq, e.Chain = 0, Chain{}
	return e
}

// RevokedKey is what an entry of kind kid names. Whoever holds keys must be told of it, and a Set
// knows no names.
type RevokedKey struct {
	Issuer, KeyID string
	Expires       int64 // unix ms
}

// RevokedKey returns the key that e revokes, if e is of kind kid.
func (e *Entry) RevokedKey() (RevokedKey, bool) {
	k := RevokedKey{e.Issuer, e.Value, e.Expires}
	return k, e.Kind == KindKID && k.Valid()
}

// Valid reports whether k names a key as an entry can.
func (k *RevokedKey) Valid() bool {
	return checkText("issuer", k.Issuer, MaxIssuer) == nil &&
		checkText("kid", k.KeyID, MaxValue) == nil
}

// CompareRevokedKeys orders keys by their names, as a snapshot's must be.
func CompareRevokedKeys(a, b RevokedKey) int {
	return cmp.Or(strings.Compare(a.Issuer, b.Issuer), strings.Compare(a.KeyID, b.KeyID))
}
