// Package keyset holds a gate's public keys, for each issuer that it trusts: fetched, kept, and
// found by (issuer, kid) alone.
//
// It promises:
//   - A key of one issuer never verifies another's tokens, and nothing in a token changes where
//     keys are asked for: addresses come from the configuration, redirects to another host or
//     scheme are not followed, proxies in the environment are not used.
//   - The last good set of an issuer stays in force through errors, empty answers, garbage and
//     sets with private keys, and through a restart by a file, unless that is older than max_age.
//     Issuers do not depend on each other.
//   - A key that the issuer publishes no more stops at the next refresh, one that is revoked at
//     once. Either is counted in Removals.
//   - Tokens with made-up kids cost an issuer at most one request in ten seconds, and a gate a
//     bounded number of waiting callers.
//
// # Readiness
//
// A gate is ready when each of its issuers has keys, fetched or from the file that was kept. It
// waits for an issuer that has none for at most 30 seconds: after that it is ready as soon as any
// issuer has keys, and only the tokens of the issuers without are denied (reason no_keys), which
// Status, the log and the metric sallyport_keyset_keys tell. Once ready it stays so.
package keyset
