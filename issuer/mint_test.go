package issuer

import (
	"net/http"
	"testing"

	"github.com/sallyport/sallyport/internal/jose"
	"github.com/sallyport/sallyport/internal/jose/signing"
	"github.com/sallyport/sallyport/internal/revocation"
)

// TestNoTokenIsMadeUnderARevokedKey: a login or refresh right behind the revocation of the active
// key, before the key folder is read anew, gets a token under the next key; where there is none,
// none at all.
func TestNoTokenIsMadeUnderARevokedKey(t *testing.T) {
	eachRedis(t, func(t *testing.T, h *house) {
		kid := func(a answer) string {
			parsed, err := jose.Parse(a.str("access_token"))
			if err != nil {
				t.Fatal(err)
			}
			return parsed.Header.KeyID
		}
		revoke := func(key *signing.PrivateKey) {
			if _, err := h.log.Append(t.Context(), []revocation.Request{
				{
					Kind: revocation.KindKID, Issuer: issuerURL, Value: key.ID(),
					Reason: "key_revoked", Actor: "operator",
				},
			}); err != nil {
				t.Fatal(err)
			}
		}
		next, err := signing.GenerateKey("ES256")
		if err != nil {
			t.Fatal(err)
		}
		h.keys.next = next
		before := h.login("alice")
		if kid(before) != h.keys.private.ID() {
			t.Fatal("the active key does not sign")
		}
		revoke(h.keys.private)
		if got := kid(h.login("alice")); got != next.ID() {
			t.Errorf("a login got a token under key %s, expected the next key", got)
		}
		refreshed := h.refresh(before.str("refresh_token"))
		wantStatus(t, refreshed, http.StatusOK, "")
		if got := kid(refreshed); got != next.ID() {
			t.Errorf("a refresh got a token under key %s, expected the next key", got)
		}
		revoke(next)
		want503(t, h.post("/login", body("username", "alice", "password", password)))
		want503(t, h.refresh(refreshed.str("refresh_token")))
	})
}
