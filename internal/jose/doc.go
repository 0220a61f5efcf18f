// Package jose reads and verifies signed tokens in the compact form (RFC 7515), and reads
// and writes the public keys for that (RFC 7517, RFC 7518, RFC 8037).
//
// It promises that nothing can be added to, left out of or respelled in an accepted token's bytes,
// except what its issuer signed anew (and except that an ECDSA signature has a twin, which is why
// nothing here may be named after a signature). Tokens of ours have exactly one spelling; those of
// other issuers are read as the RFCs have them, and what only they may write is noted in the Header.
// Tokens and key sets from outside are read by code of our own and verified by the standard
// library: no header name chooses a key, an algorithm or a check. Keys that are weak are never made
// into a PublicKey. Work on a token that will be refused is bounded by its 8 KiB.
//
// Private keys, and all that signs, are in package signing, so that a gate links none of it.
package jose
