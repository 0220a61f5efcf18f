package token

import "time"

// Forgiven is by how much the lifetime of others' tokens may exceed max_lifetime: some issuers take
// iat a moment after exp was reckoned, and then cut both to seconds. Revocations are kept for that
// much longer than max_token_lifetime.
const Forgiven = time.Second

// CheckTime holds the claims' dates against now: exp, nbf and iat with the profile's leeway, and
// the lifetime. It is called on every request, also when what Read said is kept.
func (p *Profile) CheckTime(c *Claims, now time.Time) error {
	skew, lifetime, at := p.ClockSkew, c.Lifetime(), dateOf(now)
	switch {
	case lifetime <= 0:
		return Refuse(ReasonLifetime, "expected exp after iat")
	case lifetime-p.forgiven() > p.maxLifetime():
		return Refuse(ReasonLifetime, "expected a lifetime of at most %s", p.maxLifetime())
	case at.until(date{c.Expiry, c.expiryNanos}) <= -skew:
		return Refuse(ReasonExpired, "expected exp to be later than now, within clock_skew")
	case c.NotBefore != 0 && at.until(date{c.NotBefore, c.notBeforeNanos}) > skew:
		return Refuse(ReasonNotYetValid, "expected nbf not to be later than now, within clock_skew")
	case at.until(date{c.IssuedAt, c.issuedNanos}) > skew:
		return Refuse(ReasonIssuedInFuture, "expected iat not to be later than now, within clock_skew")
	}
	return nil
}

func (p *Profile) forgiven() time.Duration {
	if p.Ours {
		return 0
	}
	return Forgiven
}

func (p *Profile) maxLifetime() time.Duration {
	if p.MaxLifetime == 0 {
		return defaultMaxLifetime
	}
	return p.MaxLifetime
}
