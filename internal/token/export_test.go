package token

import "time"

// IssuedTime is iat to the nanosecond.
func (c *Claims) IssuedTime() time.Time { return time.Unix(c.IssuedAt, c.issuedNanos) }
