package sender

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/sallyport/sallyport/internal/jose"
	"github.com/sallyport/sallyport/internal/token"
	"github.com/sallyport/sallyport/internal/token/strict"
)

// Kind is one kind of messages.
type Kind struct {
	Types []string // the header's typ is one of these
	// Audiences reports whether a message of a sender is for this issuer, by one name in aud; nil: by
	// the entry's audiences, letter by letter.
	Audiences func(from *Config, aud string) bool
	// MaxAge is how long after its iat a message without exp is taken; nil: for ever.
	MaxAge func(from *Config) time.Duration
}

// Refusal is why a message was refused.
type Refusal struct {
	Reason token.Reason
	Detail string // for the log; no part of the message
	Issuer string // the sender's; "" when it is none that is known
	// Authentic says that the sender has signed the message: the sender may know the reason.
	Authentic bool
}

// Error implements error.
func (r *Refusal) Error() string { return "sender: " + string(r.Reason) + ": " + r.Detail }

// refusalOf returns err as a Refusal, unless it is another kind of failure.
func refusalOf(err error, issuer string, authentic bool) error {
	var refused *token.Error
	if !errors.As(err, &refused) {
		return err
	}
	return &Refusal{
		Reason: refused.Reason, Detail: refused.Detail(), Issuer: issuer, Authentic: authentic,
	}
}

// Verify reads a message and verifies it at a time of the revocation log. Its errors are *Refusal,
// or wrap ErrKeyPending. Nothing but the claims that every message has is judged: what an event
// means is for the caller.
func (s *Senders) Verify(ctx context.Context, compact string, now time.Time,
	k Kind) (*Message, error) {
	parsed, err := jose.Parse(compact)
	if err != nil {
		return nil, refusalOf(err, "", false)
	}
	issuer, err := parsed.Issuer()
	if err != nil {
		return nil, refusalOf(err, "", false)
	}
	from := s.byIssuer[issuer]
	if from == nil {
		return nil, refusalOf(
			token.Refuse(token.ReasonUnknownIssuer, "iss is none of the senders"), "", false)
	}
	if err := s.authenticate(ctx, &parsed, from, k); err != nil {
		return nil, refusalOf(err, from.Issuer, false)
	}
	// From here on its sender is known, and may be told what is wrong.
	m, err := read(&parsed, from)
	if err == nil {
		err = m.judge(now, k)
	}
	if err != nil {
		return nil, refusalOf(err, from.Issuer, true)
	}
	return m, nil
}

// authenticate verifies who signed a message: the type and the algorithm before the key, so that a
// key never decides how it is used (RFC 8725 section 3.1).
func (s *Senders) authenticate(ctx context.Context, parsed *jose.Parsed, from *Config,
	k Kind) error {
	if err := checkHeader(parsed, from, k.Types); err != nil {
		return err
	}
	key, err := s.key(ctx, from, parsed.Header)
	if err != nil {
		return err
	}
	if err := key.Verify(parsed.Header.Algorithm, parsed.SigningInput, parsed.Signature); err != nil {
		return err
	}
	parsed.Header.KeyID = key.ID() // of a message without a kid
	return nil
}

// checkHeader holds a header against the entry, by the one rule that there is for headers.
func checkHeader(parsed *jose.Parsed, from *Config, types []string) (err error) {
	err = token.Refuse(token.ReasonTyp, "expected the typ of a message")
	for _, typ := range types {
		profile := token.Profile{Algorithms: from.Algorithms, Type: typ}
		err = profile.CheckHeader(parsed.Header)
		if token.ReasonOf(err) != token.ReasonTyp {
			return err
		}
	}
	return err
}

// read takes what every message has out of verified claims.
func read(parsed *jose.Parsed, from *Config) (*Message, error) {
	body, err := parsed.Body() // read when its issuer was looked for
	if err != nil {
		return nil, err
	}
	m := &Message{Sender: from, Claims: body.Root(), KeyID: parsed.Header.KeyID}
	if m.ID, err = m.Text("jti"); err != nil {
		return nil, err
	}
	if m.ID == "" {
		return nil, token.Refuse(token.ReasonTokenID, "expected jti, got none")
	}
	issued, ok, err := m.date("iat")
	if err == nil && !ok {
		err = token.Refuse(token.ReasonIssuedAtMissing, "expected iat, got none")
	}
	m.IssuedAt = issued
	return m, err
}

// judge holds a message's audience and times against its sender's entry.
func (m *Message) judge(now time.Time, k Kind) error {
	if err := m.checkAudience(k); err != nil {
		return err
	}
	expires, hasExpiry, err := m.date("exp")
	if err != nil {
		return err
	}
	notBefore, hasNotBefore, err := m.date("nbf")
	if err != nil {
		return err
	}
	if !hasExpiry && k.MaxAge != nil {
		expires, hasExpiry = m.IssuedAt.Add(k.MaxAge(m.Sender)), true
	}
	switch skew := m.Sender.ClockSkew; {
	case hasExpiry && !now.Before(expires.Add(skew)):
		return token.Refuse(token.ReasonExpired, "expected a message that is not older than it may be")
	case now.Before(m.IssuedAt.Add(-skew)):
		return token.Refuse(token.ReasonIssuedInFuture, "expected iat not to be later than now")
	case hasNotBefore && now.Before(notBefore.Add(-skew)):
		return token.Refuse(token.ReasonNotYetValid, "expected nbf not to be later than now")
	}
	return nil
}

// checkAudience: a text or a list of texts, one of which is ours (RFC 7519 section 4.1.3).
func (m *Message) checkAudience(k Kind) error {
	aud, ok := m.Claims.Member("aud")
	if !ok {
		return token.Refuse(token.ReasonAudienceMissing, "expected aud, got none")
	}
	names, ours := []strict.Member{{Value: aud}}, false
	if aud.Kind() == strict.Array {
		names = aud.Members()
	}
	for _, name := range names {
		switch {
		case name.Value.Kind() != strict.String:
			return token.Refuse(token.ReasonAudience, "expected aud to be a text or a list of texts")
		case k.Audiences != nil:
			ours = ours || k.Audiences(m.Sender, name.Value.Text())
		default:
			ours = ours || slices.Contains(m.Sender.Audiences, name.Value.Text())
		}
	}
	if !ours {
		return token.Refuse(token.ReasonAudience, "expected aud to name one of the entry's audiences")
	}
	return nil
}
