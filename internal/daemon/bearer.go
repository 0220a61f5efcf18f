package daemon

import (
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/sallyport/sallyport/internal/config"
)

// AdminConfig is the admin port, and the secret of who may ask more there than how the daemon is.
type AdminConfig struct {
	Config `yaml:",inline"`
	// Token is the secret that the bearer token of what lies under /admin must equal; without one there
	// is nothing there. In a file it is token_file, in the environment SALLYPORT_ADMIN_TOKEN_FILE.
	Token config.Secret `yaml:"token"`
}

// Validate checks the port and the secret.
func (c AdminConfig) Validate() error {
	err := c.Config.Validate()
	if !c.Token.IsZero() {
		if short := CheckToken(c.Token); short != nil {
			err = errors.Join(err, config.At("token", "%w", short))
		}
	}
	return err
}

// minToken is the least length in bytes of an admin token.
const minToken = 32

// CheckToken refuses an admin token that could be guessed.
func CheckToken(s config.Secret) error {
	if n := len(s.Reveal()); n < minToken {
		return fmt.Errorf("expected an admin token of at least %d bytes, got %d: make one "+
			"with `openssl rand -base64 32`", minToken, n)
	}
	return nil
}

// HasBearer reports whether a request carries the admin token, as the one bearer token it has.
func HasBearer(r *http.Request, token config.Secret) bool {
	lines := r.Header.Values("Authorization")
	if len(lines) != 1 || token.IsZero() {
		return false
	}
	scheme, secret, _ := strings.Cut(lines[0], " ")
	// Hashes are of one length, so that the comparison takes the same time whatever was sent.
	given, want := sha256.Sum256([]byte(secret)), sha256.Sum256([]byte(token.Reveal()))
	return subtle.ConstantTimeCompare(given[:], want[:]) == 1 && strings.EqualFold(scheme, "Bearer")
}
