// Package jose reads, verifies and makes signed tokens in the compact form (RFC 7515), and the keys
// for that (RFC 7517, RFC 7518, RFC 8037).
//
// It promises that a token which it accepts has exactly one spelling: nothing can be added to, left
// out of or respelled in an accepted token's bytes, except what its issuer signed anew (and except
// that an ECDSA signature has a twin, which is why nothing here may be named after a signature).
// Tokens and key sets from outside are read by code of our own and verified by the standard
// library: no header name chooses a key, an algorithm or a check. Keys that are weak are never made
// into a PublicKey. Work on a token that will be refused is bounded by its 8 KiB.
//
// jwx, of which this is the only importer, writes: it signs our own tokens and spells our own keys.
// It judges nothing.
package jose
