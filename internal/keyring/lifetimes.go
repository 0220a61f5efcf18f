package keyring

import (
	"encoding/json"
	"fmt"
	"time"
)

// Lifetimes are the times that the ring's rules depend on. They are kept in the ring's manifest, so
// that a command without the issuer's configuration obeys them too.
type Lifetimes struct {
	Publish time.Duration // longest that a reader may keep the JWKS
	Token   time.Duration // longest lifetime of an access token
	Session time.Duration // longest lifetime of a refresh token
	Spread  time.Duration // longest that a change takes to reach every issuer
	Skew    time.Duration // how far a process may be from the time that all agree on
}

// DefaultLifetimes are those of an issuer that configures nothing.
func DefaultLifetimes() Lifetimes {
	return Lifetimes{
		Publish: 15 * time.Minute,
		Token:   time.Hour,
		Session: 720 * time.Hour,
		Spread:  2 * time.Minute,
		Skew:    30 * time.Second,
	}
}

// longest takes the larger of each time: a key must serve the most patient of its readers.
func (l Lifetimes) longest(o Lifetimes) Lifetimes {
	return Lifetimes{
		Publish: max(l.Publish, o.Publish),
		Token:   max(l.Token, o.Token),
		Session: max(l.Session, o.Session),
		Spread:  max(l.Spread, o.Spread),
		Skew:    max(l.Skew, o.Skew),
	}
}

// wait is how long a key must have been in the ring before it may become active: every issuer has
// read the folder, and, for a signing key, every reader has fetched its JWKS anew. The clocks of
// the one that made it and the one that promotes it may be two Skews apart.
func (l Lifetimes) wait(u Use) time.Duration {
	d := l.Spread + 2*l.Skew
	if u == Signing {
		d += l.Publish
	}
	return d
}

// linger is how long a key stays after it retired. The issuer that hears of it last uses it until
// Spread has passed, and a gate takes what it signed for up to two Skews more than its lifetime;
// the clocks of the one that retired it and the one that drops it may be two Skews apart.
func (l Lifetimes) linger(u Use) time.Duration {
	d := l.Spread + 4*l.Skew
	if u == Signing {
		return d + l.Token
	}
	return d + l.Session
}

// flags are the lifetimes as `sallyport keygen` and `sallyport keys lifetimes` take them.
func (l Lifetimes) flags() string {
	return fmt.Sprintf(
		"--key-set-max-age=%v --max-lifetime=%v --session-lifetime=%v --keys-spread=%v --clock-skew=%v",
		l.Publish, l.Token, l.Session, l.Spread, l.Skew)
}

// longestLifetime bounds each time, so that sums of them can not overflow.
const longestLifetime = 10 * 365 * 24 * time.Hour

func (l Lifetimes) check() error {
	for name, d := range map[string]time.Duration{
		"publish": l.Publish, "token": l.Token, "session": l.Session, "spread": l.Spread, "skew": l.Skew,
	} {
		if d < 0 || d > longestLifetime {
			return fmt.Errorf("lifetime %q is %v, expected 0 to %v", name, d, longestLifetime)
		}
	}
	return nil
}

type lifetimesText struct {
	Publish string `json:"publish"`
	Token   string `json:"token"`
	Session string `json:"session"`
	Spread  string `json:"spread"`
	Skew    string `json:"skew"`
}

// MarshalJSON writes durations as Go spells them ("1h0m0s"), for people to read.
func (l Lifetimes) MarshalJSON() ([]byte, error) {
	return json.Marshal(
		lifetimesText{
			l.Publish.String(),
			l.Token.String(),
			l.Session.String(),
			l.Spread.String(),
			l.Skew.String(),
		},
	)
}

// UnmarshalJSON reads what MarshalJSON writes and refuses anything else.
func (l *Lifetimes) UnmarshalJSON(b []byte) error {
	var t lifetimesText
	if err := decodeStrict(b, &t); err != nil {
		return err
	}
	for _, f := range []struct {
		name, text string
		to         *time.Duration
	}{
		{"publish", t.Publish, &l.Publish}, {"token", t.Token, &l.Token},
		{"session", t.Session, &l.Session}, {"spread", t.Spread, &l.Spread}, {"skew", t.Skew, &l.Skew},
	} {
		d, err := time.ParseDuration(f.text)
		if err != nil {
			return fmt.Errorf("lifetime %q: expected a duration such as \"1h\", got %q", f.name, f.text)
		}
		*f.to = d
	}
	return l.check()
}
