package token

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// Claims is what a token says, once read: values are as the token has them, dates are Unix seconds.
type Claims struct {
	Issuer   string   // iss: who made the token
	Subject  string   // sub: whom it speaks of
	Audience []string // aud: whom it is for
	// jti, or what the profile names: the token itself; "" when the profile says none
	ID        string
	ClientID  string // client_id: through which client the subject logged in
	SessionID string // sid: the session; "" when there is none
	Tenant    string
	Scope     []string
	Roles     []string
	AMR       []string // how the subject was authenticated (RFC 8176)
	// acr: the same in one word (OpenID Connect Core section 2); "" when there is none
	ACR string

	Expiry    int64 // exp
	IssuedAt  int64 // iat
	NotBefore int64 // nbf; 0 when absent
	AuthTime  int64 // auth_time: when the session began; 0 when absent

	// What the dates of others' tokens have beyond whole seconds, in nanoseconds: of exp and nbf
	// rounded up, of iat down. No clock is finer, so nothing lives longer by it, and a revocation
	// with a cutoff goes by the second in which a token was made.
	expiryNanos, issuedNanos, notBeforeNanos int64
}

// Lifetime is exp - iat, rounded up to the nanosecond; negative when exp is before iat.
func (c *Claims) Lifetime() time.Duration {
	return date{c.IssuedAt, c.issuedNanos}.until(date{c.Expiry, c.expiryNanos})
}

// Remaining is exp - now; negative when exp is over.
func (c *Claims) Remaining(now time.Time) time.Duration {
	return dateOf(now).until(date{c.Expiry, c.expiryNanos})
}

// date is a moment in seconds and nanoseconds of unix time: what is judged on every request, and so
// is not made a time.Time first.
type date struct{ seconds, nanos int64 }

func dateOf(t time.Time) date { return date{t.Unix(), int64(t.Nanosecond())} }

// until is how long after d the other date is; beyond what a Duration holds, the longest there is.
func (d date) until(other date) time.Duration {
	switch seconds := other.seconds - d.seconds; {
	case seconds > mostSeconds:
		return math.MaxInt64
	case seconds < -mostSeconds:
		return math.MinInt64
	default:
		return time.Duration(seconds)*time.Second + time.Duration(other.nanos-d.nanos)
	}
}

// mostSeconds is a little less than a Duration holds.
const mostSeconds = math.MaxInt64/int64(time.Second) - 2

// Marshal writes the claims as RFC 9068 section 2.2 has them, in one fixed order, leaving out what
// is absent. It refuses what a gate would refuse to read back: an error here is a token that would
// have been no use.
func (c *Claims) Marshal() ([]byte, error) {
	if err := c.complete(); err != nil {
		return nil, err
	}
	w := writer{out: make([]byte, 0, 512)}
	w.string("iss", c.Issuer)
	w.string("sub", c.Subject)
	w.audience(c.Audience)
	w.date("exp", c.Expiry)
	w.date("iat", c.IssuedAt)
	w.date("nbf", c.NotBefore)
	w.string("jti", c.ID)
	w.string("client_id", c.ClientID)
	w.string("sid", c.SessionID)
	w.date("auth_time", c.AuthTime)
	w.string("scope", strings.Join(c.Scope, " "))
	w.list("roles", c.Roles)
	w.string("tenant", c.Tenant)
	w.list("amr", c.AMR)
	return append(w.out, '}'), w.err
}

// complete returns which claim is missing or could not be read back.
func (c *Claims) complete() error {
	for _, s := range []struct {
		claim, value string
		required     bool
	}{
		{"iss", c.Issuer, true}, {"sub", c.Subject, true}, {"jti", c.ID, true}, {
			"client_id", c.ClientID, true,
		},
		{"sid", c.SessionID, false}, {"tenant", c.Tenant, false},
	} {
		if s.value == "" && !s.required {
			continue
		}
		if problem := unwritable(s.value); problem != "" {
			return fmt.Errorf("token: expected %s without faults, got one that %s", s.claim, problem)
		}
	}
	if len(c.Audience) == 0 {
		return errors.New("token: expected an audience, got none")
	}
	// Scopes are joined by spaces, so that one with a space would be read as two.
	for claim, values := range map[string][]string{
		"aud": c.Audience, "scope": c.Scope, "roles": c.Roles, "amr": c.AMR,
	} {
		for _, v := range values {
			if problem := unwritable(v); problem != "" {
				return fmt.Errorf("token: expected %s without faults, got an item that %s", claim, problem)
			}
			if claim == "scope" && strings.Contains(v, " ") {
				return errors.New("token: expected each scope without spaces, got one with a space")
			}
		}
	}
	return c.datesInRange()
}

func (c *Claims) datesInRange() error {
	for claim, d := range map[string]int64{"exp": c.Expiry, "iat": c.IssuedAt} {
		if d < 1 || d > maxDate {
			return fmt.Errorf("token: expected %s to be Unix seconds from 1 to %d, got %d", claim,
				int64(maxDate), d)
		}
	}
	for claim, d := range map[string]int64{"nbf": c.NotBefore, "auth_time": c.AuthTime} {
		if d < 0 || d > maxDate {
			return fmt.Errorf(
				"token: expected %s to be Unix seconds up to %d or 0 for none, got %d", claim,
				int64(maxDate), d)
		}
	}
	if c.Expiry <= c.IssuedAt {
		return fmt.Errorf("token: expected exp after iat, got %d and %d", c.Expiry, c.IssuedAt)
	}
	if c.SessionID != "" && c.AuthTime == 0 {
		return errors.New("token: expected auth_time beside sid, got none")
	}
	return nil
}

func unwritable(s string) string {
	if !utf8.ValidString(s) {
		return "is not valid UTF-8"
	}
	return unclean(s)
}

// writer builds a JSON object from strings that are known to be clean.
type writer struct {
	out []byte
	err error
}

func (w *writer) name(name string) {
	sep := byte(',')
	if len(w.out) == 0 {
		sep = '{'
	}
	w.out = append(w.out, sep, '"')
	w.out = append(w.out, name...)
	w.out = append(w.out, '"', ':')
}

func (w *writer) value(v any) {
	b, err := json.Marshal(v)
	if err != nil {
		w.err = errors.Join(w.err, fmt.Errorf("token: marshalling claims: %w", err))
	}
	w.out = append(w.out, b...)
}

func (w *writer) string(name, value string) {
	if value != "" {
		w.name(name)
		w.value(value)
	}
}

func (w *writer) list(name string, values []string) {
	if len(values) > 0 {
		w.name(name)
		w.value(values)
	}
}

func (w *writer) audience(values []string) {
	if len(values) == 1 {
		w.string("aud", values[0])
		return
	}
	w.list("aud", values)
}

func (w *writer) date(name string, seconds int64) {
	if seconds != 0 {
		w.name(name)
		w.out = strconv.AppendInt(w.out, seconds, 10)
	}
}
