// Package stream keeps a stream of security events flowing from its transmitter: it makes, mends
// and verifies the stream through the transmitter's management API (OpenID Shared Signals Framework
// 1.0 section 8), and polls it (RFC 8936).
//
// It promises:
//
//   - A message is acknowledged to its transmitter only after it has been carried out. What could
//     not be carried out for now is not acknowledged, and comes again.
//   - By configuration alone: a stream that is missing is made, one that differs is updated, one
//     that stands still is enabled again, each by one issuer of many at a time.
//   - Nothing is lost when two issuers keep one stream, or none does for a while: what is not
//     acknowledged stays at the transmitter.
//   - Over TLS or to this machine alone; redirects are never followed; answers are bounded; neither
//     errors nor logs hold a secret, a token or an answer's text.
package stream
