package revocation

import "fmt"

// Kind is what an entry names. The zero Kind is none.
type Kind uint8

// The kinds of entries.
const (
	KindEpoch  Kind = iota + 1 // the first entry of an epoch; revokes nothing
	KindJTI                    // one token, by its jti
	KindSID                    // every token of a session
	KindSub                    // tokens and sessions of a subject from before a time
	KindClient                 // tokens of a client issued before a time
	KindTenant                 // tokens of a tenant issued before a time
	KindKID                    // every token signed with a key
	KindIss                    // tokens of an issuer issued before a time
	kindEnd
)

var kindNames = [kindEnd]string{"", "epoch", "jti", "sid", "sub", "client", "tenant", "kid", "iss"}

// Kinds are the kinds that revoke something, in the order in which a token is checked.
func Kinds() []Kind {
	return []Kind{KindSID, KindJTI, KindSub, KindClient, KindTenant, KindKID, KindIss}
}

// NumKinds is the length of an array with a place for every Kind, the zero one among them.
const NumKinds = int(kindEnd)

// Revokes reports whether an entry of this kind revokes something: one of kind epoch does not.
func (k Kind) Revokes() bool { return k > KindEpoch && k < kindEnd }

// ParseKind reads a kind's name as the log and the operator's command spell it.
func ParseKind(s string) (Kind, error) {
	for k := KindEpoch; k < kindEnd; k++ {
		if kindNames[k] == s {
			return k, nil
		}
	}
	return 0, fmt.Errorf(
		"revocation: expected a kind of epoch, jti, sid, sub, client, tenant, kid or iss, got %.20q",
		s)
}

func (k Kind) String() string {
	if k == 0 || k >= kindEnd {
		return fmt.Sprintf("kind(%d)", uint8(k))
	}
	return kindNames[k]
}

// Sessions reports whether an entry of this kind ends sessions, and not only tokens that exist: one
// session, or those of a subject.
func (k Kind) Sessions() bool { return k == KindSID || k == KindSub }

// Cutoff reports whether an entry of this kind has an issued_before.
func (k Kind) Cutoff() bool {
	return k == KindSub || k == KindClient || k == KindTenant || k == KindIss
}
