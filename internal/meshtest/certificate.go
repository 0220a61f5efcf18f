package meshtest

import (
	"path/filepath"
	"testing"

	"github.com/sallyport/sallyport/internal/redisconn/redistest"
)

// Certificate returns two files of a server on this machine, good for an hour: its certificate with
// that of the authority that has signed it, and its key. So the first is good as a CA file, too.
func Certificate(t testing.TB) (certificate, key string) {
	t.Helper()
	authority := redistest.NewAuthority(t)
	certificatePEM, keyPEM := authority.Pair()
	dir := t.TempDir()
	certificate, key = filepath.Join(dir, "certificate.pem"), filepath.Join(dir, "key.pem")
	redistest.Write(t, certificate, append(certificatePEM, authority.PEM()...))
	redistest.Write(t, key, keyPEM)
	return certificate, key
}
