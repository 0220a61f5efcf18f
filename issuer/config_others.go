package issuer

import (
	"cmp"
	"errors"
	"fmt"
	"time"

	"github.com/sallyport/sallyport/internal/config"
	"github.com/sallyport/sallyport/internal/revocation"
	"github.com/sallyport/sallyport/internal/token"
)

// OtherIssuer is an entry of the setting other_issuers: an issuer that is not this one, and whose
// tokens are revoked here as well.
type OtherIssuer struct {
	Issuer string `yaml:"issuer"` // the iss of its tokens, letter by letter
	// How long a session lives there at most, from its login on, however often it is refreshed.
	// Revoking it here does not end it there, so the entry stays in force for so long.
	MaxSessionLifetime time.Duration `yaml:"max_session_lifetime"`
}

// checkOtherIssuers checks each by itself, and that none is named twice.
func (c Config) checkOtherIssuers() error {
	var errs []error
	seen := map[string]bool{}
	for i, o := range c.OtherIssuers {
		bad := func(key, format string, args ...any) {
			errs = append(errs, config.At(fmt.Sprintf("other_issuers[%d].%s", i, key), format, args...))
		}
		switch {
		case o.Issuer == "":
			bad("issuer", "issuer: expected the iss of its tokens, got nothing")
		case o.Issuer == c.Issuer:
			bad("issuer", "issuer: expected another issuer, got this one: refresh_token_lifetime says "+
				"how long its sessions live")
		case seen[o.Issuer]:
			bad("issuer", "issuer: expected each issuer once, got %q again", o.Issuer)
		}
		seen[o.Issuer] = true
		for j := range c.Senders {
			s := &c.Senders[j]
			if s.EndsSessionsOf() == o.Issuer && s.MaxSessionLifetime > 0 && o.MaxSessionLifetime > 0 {
				bad("max_session_lifetime", "issuer: expected it in one place, senders[%d] says it too", j)
			}
		}
		if d := o.MaxSessionLifetime; d < 0 || d > revocation.LongestSession ||
			d > 0 && d < time.Second {
			bad("max_session_lifetime", "issuer: expected %s to %s, got %s: it is "+
				"revocation.max_session_lifetime (%s) unless said", time.Second,
				revocation.LongestSession, d, c.Revocation.MaxSessionLifetime)
		}
	}
	return errors.Join(errs...)
}

// SessionLifetime returns for how long a session of an issuer may go on after it has been revoked
// here: not at all for this one's, which end with their revocation.
func (c Config) SessionLifetime(issuer string) time.Duration {
	if issuer == c.Issuer {
		return 0
	}
	return cmp.Or(c.saidLifetime(issuer), c.Revocation.MaxSessionLifetime)
}

// saidLifetime returns what the configuration says of how long another issuer's sessions live; 0:
// nothing.
func (c Config) saidLifetime(issuer string) time.Duration {
	for _, o := range c.OtherIssuers {
		named := o.Issuer == issuer || token.IsTenantOf(o.Issuer, issuer)
		if named && o.MaxSessionLifetime > 0 {
			return o.MaxSessionLifetime
		}
	}
	// Of several senders that may end an issuer's sessions, the one that knows them to live longest.
	var longest time.Duration
	for i := range c.Senders {
		if s := &c.Senders[i]; s.EndsSessionsOf() == issuer {
			longest = max(longest, s.MaxSessionLifetime)
		}
	}
	return longest
}
