//go:build issuers

package issuers_test

import (
	"encoding/json"
	"net/http"
	"testing"
)

// lives asks how long sessions live in a realm in which nobody has changed that, which is what
// docs/issuers.md says.
func (k *keycloak) lives(t *testing.T) {
	var realms []struct {
		Realm                           string
		SsoSessionMaxLifespan           int
		SsoSessionMaxLifespanRememberMe int
		OfflineSessionIdleTimeout       int
		OfflineSessionMaxLifespanOn     bool `json:"offlineSessionMaxLifespanEnabled"`
	}
	all := k.admin(t, http.MethodGet, "", nil)
	if err := json.Unmarshal(all.body, &realms); err != nil {
		t.Fatal(err)
	}
	const hour, day = 3600, 24 * 3600
	for _, r := range realms {
		if r.Realm != "shop" {
			continue
		}
		// A remembered session has the other's maximum, unless there is one of its own.
		if r.SsoSessionMaxLifespan != 10*hour || r.SsoSessionMaxLifespanRememberMe != 0 ||
			r.OfflineSessionIdleTimeout != 30*day || r.OfflineSessionMaxLifespanOn {
			t.Errorf("by default it has %+v: correct docs/issuers.md", r)
		}
		return
	}
	t.Fatal("the realm is not among those that there are")
}
