// Package signing signs tokens in the compact form (RFC 7515), and has the private keys for that
// (RFC 5958, RFC 7518, RFC 8037). Issuers alone link it: a gate verifies, and has no use for a way
// to sign.
//
// It is the only importer of jwx, which spells and signs our own tokens and judges nothing: keys
// are judged by package jose, and a token that a gate would refuse to read is never handed out.
package signing
