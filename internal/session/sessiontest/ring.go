package sessiontest

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
)

// Ring is a ring of one throwaway key, with the parts of a key ring that sessions use.
type Ring struct{ key [32]byte }

// NewRing makes a ring with a key of its own.
func NewRing() *Ring {
	r := &Ring{}
	_, _ = rand.Read(r.key[:])
	return r
}

func (r *Ring) mac(use string, msg []byte) []byte {
	h := hmac.New(sha256.New, append([]byte(use), r.key[:]...))
	h.Write(msg)
	return h.Sum(nil)
}

// RefreshMAC makes a code.
func (r *Ring) RefreshMAC(msg []byte) []byte { return r.mac("refresh", msg) }

// CheckRefreshMAC checks a code.
func (r *Ring) CheckRefreshMAC(msg, mac []byte) bool { return hmac.Equal(r.RefreshMAC(msg), mac) }

// SubjectTag names a subject.
func (r *Ring) SubjectTag(issuer, subject string) string {
	return base64.RawURLEncoding.EncodeToString(r.mac("tag", []byte(issuer+"\x00"+subject))[:16])
}
