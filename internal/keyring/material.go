package keyring

import (
	"bytes"
	"crypto/rand"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"time"

	"github.com/sallyport/sallyport/internal/jose"
	"github.com/sallyport/sallyport/internal/jose/signing"
	"github.com/sallyport/sallyport/internal/ownfile"
)

// secretSize is the length of the ring's HMAC keys: that of SHA-256's output (RFC 7518 section
// 3.2).
const secretSize = 32

// algorithms are those that a ring makes keys for.
var algorithms = []string{
	"ES256", "ES384", "ES512", "EdDSA", "RS256", "RS384", "RS512", "PS256", "PS384",
	"PS512", "HS256", "HS384", "HS512",
}

// symmetric reports whether keys for alg have no public half, so that they never appear in the
// JWKS.
func symmetric(alg string) bool { return strings.HasPrefix(alg, "HS") }

// material is the secret of one key, out of its file.
type material struct {
	signer *signing.PrivateKey // use signing
	secret []byte              // other uses
}

// newKey makes a key of use with its file's content, not yet encrypted.
func newKey(use Use, alg string, now time.Time) (entry, []byte, error) {
	e := entry{Use: use, Algorithm: alg, State: Next, Created: now}
	if use != Signing {
		e.Algorithm = "HS256"
		id := hex.EncodeToString(random(16))
		e.ID, e.File = id, fileName(use, id)
		return e, pem.EncodeToMemory(&pem.Block{Type: jose.PEMSecret, Bytes: random(secretSize)}), nil
	}
	key, err := signing.GenerateKey(alg)
	// on a command line that would be taken for an option
	for err == nil && strings.HasPrefix(key.ID(), "-") {
		key, err = signing.GenerateKey(alg)
	}
	if err != nil {
		return entry{}, nil, fmt.Errorf("a new key for %q: %w", alg, err)
	}
	e.ID, e.File = key.ID(), fileName(use, key.ID())
	content, err := key.MarshalPEM()
	return e, content, errors.Join(err, e.check())
}

func fileName(use Use, id string) string { return string(use) + "-" + id + ".pem" }

func random(n int) []byte {
	b := make([]byte, n)
	rand.Read(b) // never fails, as of Go 1.24
	return b
}

// load reads and checks e's key.
func (v *vault) load(dir string, e *entry, passphrase []byte,
	groupReadable bool) (material, error) {
	content, err := v.plain(dir, e, passphrase, groupReadable)
	if err != nil {
		return material{}, err
	}
	m, err := e.material(content)
	if err != nil {
		return material{}, fmt.Errorf("%s: %w", filepath.Join(dir, e.File), err)
	}
	return m, nil
}

// plain reads e's file and decrypts it. With a passphrase an unencrypted file is refused: whoever
// can write to the folder but does not know the passphrase must not be able to plant a key.
func (v *vault) plain(dir string, e *entry, passphrase []byte, groupReadable bool) ([]byte, error) {
	path := filepath.Join(dir, e.File)
	content, err := ownfile.ReadPrivate(path, groupReadable)
	if err != nil {
		return nil, err
	}
	block, err := oneBlock(content)
	switch sealed := block != nil && block.Type == blockSealed; {
	case err != nil:
	case sealed && passphrase == nil:
		err = errors.New("the key is encrypted; name its passphrase_file")
	case !sealed && passphrase != nil:
		err = errors.New("expected an encrypted key, as passphrase_file is set, got an unencrypted one")
	case sealed:
		content, err = v.unseal(block, e, passphrase)
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return content, nil
}

// oneBlock reads a PEM file (RFC 7468) of exactly one block, with nothing but white space around
// it.
func oneBlock(content []byte) (*pem.Block, error) {
	content = bytes.TrimSpace(content)
	if !bytes.HasPrefix(content, []byte("-----BEGIN ")) {
		return nil, errors.New("expected a PEM block and nothing before it")
	}
	block, rest := pem.Decode(content)
	if block == nil {
		return nil, errors.New("expected a PEM block, got a broken one")
	}
	if len(bytes.TrimSpace(rest)) > 0 {
		return nil, errors.New("expected one PEM block, got more after it")
	}
	return block, nil
}

// material checks that content is the key that e says it is.
func (e *entry) material(content []byte) (material, error) {
	block, err := oneBlock(content)
	if err != nil {
		return material{}, err
	}
	if e.Use != Signing {
		if block.Type != jose.PEMSecret || len(block.Bytes) != secretSize {
			return material{}, fmt.Errorf("expected a PEM block %q of %d bytes, got %q of %d",
				jose.PEMSecret, secretSize, block.Type, len(block.Bytes))
		}
		return material{secret: block.Bytes}, nil
	}
	key, err := e.signer(content)
	if err != nil {
		return material{}, err
	}
	// A key's id is its thumbprint: another key in the file shows.
	if key.ID() != e.ID {
		return material{}, fmt.Errorf("expected the key %q, got %q", e.ID, key.ID())
	}
	return material{signer: key}, nil
}

// signer: PKCS#8 does not tell apart the algorithms that one RSA key can serve; the manifest does.
func (e *entry) signer(content []byte) (*signing.PrivateKey, error) {
	key, err := signing.ParsePrivatePEM(content)
	if err != nil || key.Algorithm() == e.Algorithm {
		return key, err
	}
	return key.WithAlgorithm(e.Algorithm)
}
