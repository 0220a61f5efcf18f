package token

import "time"

// CheckTime holds the claims' dates against now: exp, nbf and iat with the profile's leeway, and
// the lifetime. It is called on every request, also when what Read said is kept.
func (p *Profile) CheckTime(c *Claims, now time.Time) error {
	switch skew := p.ClockSkew; {
	case c.Expiry <= c.IssuedAt:
		return Refuse(ReasonLifetime, "expected exp after iat")
	// In seconds: as a Duration the difference could overflow.
	case time.Duration(c.Expiry-c.IssuedAt) > p.maxLifetime()/time.Second:
		return Refuse(ReasonLifetime, "expected a lifetime of at most %s", p.maxLifetime())
	case !now.Before(time.Unix(c.Expiry, 0).Add(skew)):
		return Refuse(ReasonExpired, "expected exp to be later than now, within clock_skew")
	case c.NotBefore != 0 && now.Before(time.Unix(c.NotBefore, 0).Add(-skew)):
		return Refuse(ReasonNotYetValid, "expected nbf not to be later than now, within clock_skew")
	case now.Before(time.Unix(c.IssuedAt, 0).Add(-skew)):
		return Refuse(ReasonIssuedInFuture, "expected iat not to be later than now, within clock_skew")
	}
	return nil
}

func (p *Profile) maxLifetime() time.Duration {
	if p.MaxLifetime == 0 {
		return defaultMaxLifetime
	}
	return p.MaxLifetime
}
