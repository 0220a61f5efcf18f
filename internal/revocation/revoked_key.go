package revocation

import (
	"cmp"
	"strings"
)

// RevokedKey is an entry of kind kid by its name: whoever holds keys must be told, and a Set knows
// no names.
type RevokedKey struct {
	Issuer, KeyID string
	Expires       int64 // unix ms
}

// RevokedKey is the key that e revokes, if it is of kind kid.
func (e *Entry) RevokedKey() (RevokedKey, bool) {
	k := RevokedKey{e.Issuer, e.Value, e.Expires}
	return k, e.Kind == KindKID && k.Valid()
}

// Valid reports whether k names a key as an entry can.
func (k *RevokedKey) Valid() bool {
	return checkText("issuer", k.Issuer, MaxIssuer) == nil &&
		checkText("kid", k.KeyID, MaxValue) == nil
}

// CompareRevokedKeys orders keys by their names, as a Snapshot's must be.
func CompareRevokedKeys(a, b RevokedKey) int {
	return cmp.Or(strings.Compare(a.Issuer, b.Issuer), strings.Compare(a.KeyID, b.KeyID))
}
