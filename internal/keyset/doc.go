// Package keyset holds a gate's public keys, for each issuer that it trusts: fetched, kept, and
// found by (issuer, kid) alone.
//
// It promises:
//   - A key of one issuer never verifies another's tokens, and nothing in a token changes where
//     keys are asked for: addresses come from the configuration, or with discovery from metadata
//     that name the issuer letter by letter; redirects to another host or scheme are not followed.
//   - A token for a key set is sent to the host that is configured, over TLS or within this
//     machine, and to nobody else.
//   - The last good set of an issuer stays in force through errors, empty answers, garbage and
//     sets with private keys, and through a restart by a file, unless that is older than max_age.
//     Issuers do not depend on each other.
//   - A key that the issuer publishes no more stops at the next refresh, one that is revoked at
//     once. Either is counted in Removals.
//   - Tokens with made-up kids cost an issuer at most two requests a second, less while it fails,
//     and a gate a bounded number of waiting callers and of remembered kids. They delay a new key
//     by no more than half a second and the time that the issuer takes to answer.
//   - A kid is said to be unknown only by the word of a fetch that was begun after it was first
//     asked for. Until then nobody knows.
//
// # Readiness
//
// A gate is ready when each of its issuers has keys, fetched or from the file that was kept. It
// waits for an issuer that has none for at most 30 seconds: after that it is ready as soon as any
// issuer has keys, and only the tokens of the issuers without are denied (reason no_keys), which
// Status, the log and the metric sallyport_keyset_keys tell. Once ready it stays so.
package keyset
