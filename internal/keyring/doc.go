// Package keyring holds an issuer's private keys in a folder: those that sign access tokens, those
// that authenticate refresh tokens, and the one that names subjects.
//
// It promises:
//   - A key goes next -> active -> retired. It signs only after every reader of the JWKS can know
//     it: it was published for the longest that a reader may keep the document. It is published
//     until everything that it signed has expired. So no rotation makes a gate refuse a valid
//     token.
//   - Any number of issuers and commands work on one folder: each change is made under the
//     folder's lock and comes into force by the rename of one manifest, ring.json, so that a
//     reader, or a crash, meets the ring before or after it and nothing between. Issuers that do
//     not rotate only read, so the folder may be a read-only mount.
//   - A broken folder changes nothing in a running issuer: it keeps the ring that it has, and says
//     so in log and metric.
//   - The secrets lie in files that their owner alone may read, else the ring is refused; with a
//     passphrase they are encrypted, and an unencrypted one is refused.
//
// # The folder
//
// ring.json lists the keys with their states and times. Signing keys are PKCS#8 in PEM ("PRIVATE
// KEY"; RFC 5958, RFC 7468), named by their RFC 7638 thumbprint. Refresh keys, the subject tag key
// and the signing keys of HS256 are random bytes in a PEM block "HMAC SECRET KEY". A file that
// ring.json does not name is not used. ring.lock is the lock (flock).
//
// With a passphrase each file is a PEM block "SALLYPORT ENCRYPTED KEY" around the PEM text of the
// key: AES-256-GCM (a random 96-bit nonce before the ciphertext) under a key that argon2id (RFC
// 9106; 3 passes, 64 MiB, 4 lanes, a 128-bit salt: all in the block's headers) makes of the
// passphrase. The key's id, use and algorithm and the parameters are authenticated with it. The
// manifest is neither secret nor authenticated: who can write to the folder can take keys out of
// use, but not plant one.
package keyring
