// Package sender has the issuers whose messages this issuer believes, so that a logout there is in
// force here. A message is a signed token that tells of a logout or of another event: a logout token
// (OpenID Connect Back-Channel Logout 1.0) or a security event token (RFC 8417).
//
// It promises:
//   - A message is verified as tokens are: one strict reading, a size, a type and an algorithm out
//     of the entry's lists, a key by (iss, kid) alone, then the signature, and only then anything
//     that it says.
//   - What it may end is what the entry of its sender says: no message can name the sessions of
//     another issuer.
//   - Its life is bounded, with exp or without.
//   - Whether a message was refused by what it says or by who signed it is told apart, so that
//     whoever made one up learns nothing.
//   - A key that may be new and cannot be looked up now is no refusal.
//   - A sender's keys are kept and dropped as at a gate.
package sender
