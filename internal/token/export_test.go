package token

import "time"

// IssuedTime is iat to the nanosecond.
func (c *Claims) IssuedTime() time.Time { return time.Unix(c.IssuedAt, c.issuedNanos) }

// ExpiresAt is exp to the nanosecond.
func (c *Claims) ExpiresAt() time.Time { return time.Unix(c.Expiry, c.expiryNanos) }
