package jose

// UncheckedSecretKey is NewSecretKey without the check of the secret.
func UncheckedSecretKey(kid string, secret []byte) (*PublicKey, error) {
	return newSecretKey(kid, secret)
}

// Thumbprint is the key's id by RFC 7638, with SHA-256, in base64url.
func (k *PublicKey) Thumbprint() (string, error) { return thumbprint(k.key) }

// RememberedHeaders is how many headers are remembered.
func (r *Reader) RememberedHeaders() int {
	if known := r.headers.known.Load(); known != nil {
		return len(*known)
	}
	return 0
}

// MaxHeaders is how many there may be of one issuer.
const MaxHeaders = maxHeaders

// IsRemembered reports whether the header of a token is remembered.
func (r *Reader) IsRemembered(compact string) bool {
	header, _, _, ok := cut(compact)
	if !ok {
		return false
	}
	_, ok = r.headers.recall(header)
	return ok
}
