package keyset

import (
	"bytes"
	"context"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"time"

	"github.com/sallyport/sallyport/internal/jose"
	"github.com/sallyport/sallyport/internal/livefile"
	"github.com/sallyport/sallyport/internal/ownfile"
)

// source is where one issuer's keys come from.
type source interface {
	// get asks for the keys. With an etag the answer may be that the set is unchanged. With an error
	// it may still say what was skipped.
	get(ctx context.Context, etag string) (answer, error)
	// String names the source as the configuration does.
	String() string
}

// answer is what a source said: that the set is unchanged, or a new one.
type answer struct {
	unchanged bool
	keys      []*jose.PublicKey
	skipped   []error // keys in the set that can not be used
	etag      string
	refresh   time.Duration // after which to ask again; 0 when the source does not say
}

const (
	setMax = 256 << 10 // bytes of a JWKS; the largest issuers' have 20 KB
	poll   = 5 * time.Second
)

func newSource(c Config, client transport, files *livefile.Files, now func() time.Time,
	unfound func(error)) source {
	switch {
	case c.JWKSURL != "":
		return &urlSource{web: newWeb(c, client, files), url: c.JWKSURL, algorithms: c.Algorithms}
	case c.Discovery:
		return newDiscovery(c, newWeb(c, client, files), now, unfound)
	case c.JWKSFile != "":
		return fileSource{string(c.JWKSFile), c.Algorithms}
	default:
		return secretSource{string(c.SecretFile), c.KeyID, c.Algorithms[0], c.GroupReadable}
	}
}

// fileSource is a JWKS in a file.
type fileSource struct {
	path       string
	algorithms []string
}

func (f fileSource) String() string { return f.path }

func (f fileSource) get(context.Context, string) (answer, error) {
	doc, err := ownfile.ReadRegular(f.path, setMax, notEveryones)
	if err != nil {
		return answer{}, err
	}
	keys, skipped, err := parseSet(doc, f.algorithms...)
	if err != nil {
		return answer{skipped: skipped}, fmt.Errorf("%s: %w", f.path, err)
	}
	return answer{keys: keys, skipped: skipped, refresh: poll}, nil
}

// notEveryones refuses a file that everyone may write to: its keys would be everyone's.
func notEveryones(info fs.FileInfo) error {
	if info.Mode().Perm()&0o002 != 0 {
		return fmt.Errorf("expected a file that not everyone may write to, got mode %v", info.Mode())
	}
	return nil
}

// secretSource is a secret that issuer and gate share: its plain bytes, or the HMAC keys of a
// Sallyport ring, one PEM block each.
type secretSource struct {
	path, kid, algorithm string
	groupReadable        bool
}

func (s secretSource) String() string { return s.path }

func (s secretSource) get(context.Context, string) (answer, error) {
	content, err := ownfile.ReadPrivate(s.path, s.groupReadable)
	if err != nil {
		return answer{}, err
	}
	keys, err := s.keys(content)
	if err != nil {
		return answer{}, fmt.Errorf("%s: %w", s.path, err)
	}
	return answer{keys: keys, refresh: poll}, nil
}

const blockBegin = "-----BEGIN " + jose.PEMSecret + "-----"

func (s secretSource) keys(content []byte) (keys []*jose.PublicKey, err error) {
	rest := bytes.TrimSpace(content)
	if !bytes.HasPrefix(rest, []byte(blockBegin)) {
		secret := ownfile.Secret(content)
		key, err := s.bound(jose.NewSecretKey(s.kid, secret))
		if err != nil {
			return nil, err
		}
		return []*jose.PublicKey{key}, nil
	}
	if s.kid != "" {
		return nil, errors.New("expected no key_id beside the keys of a ring, which bring their own")
	}
	// Nothing between the blocks: pem.Decode would skip a damaged key without a word.
	for len(rest) > 0 {
		block, after := pem.Decode(rest)
		if block == nil || !bytes.HasPrefix(rest, []byte("-----BEGIN "+block.Type+"-----")) {
			return nil, errors.New("expected PEM blocks and nothing between them")
		}
		key, err := s.bound(jose.ParseSecretPEM(rest[:len(rest)-len(after)]))
		if err != nil {
			return nil, err
		}
		keys, rest = append(keys, key), bytes.TrimSpace(after)
	}
	return keys, nil
}

// bound binds a key to the issuer's one algorithm.
func (s secretSource) bound(key *jose.PublicKey, err error) (*jose.PublicKey, error) {
	if err != nil {
		return nil, err
	}
	return key.WithAlgorithm(s.algorithm)
}

// parseSet reads the keys for algorithms, none standing for all, out of a JWKS. It is someone
// else's text: should reading it fail in a way that nobody thought of, then the set is refused and
// the gate goes on.
func parseSet(doc []byte, algorithms ...string) (keys []*jose.PublicKey, skipped []error, err error) {
	defer func() {
		if p := recover(); p != nil {
			keys, skipped, err = nil, nil, fmt.Errorf("reading the key set failed: %v", p)
		}
	}()
	keys, skipped, err = jose.ParseKeySet(doc, algorithms...)
	if errors.Is(err, jose.ErrNoKeys) && len(skipped) > 0 {
		err = fmt.Errorf("%w: %s", err, summary(skipped))
	}
	return keys, skipped, err
}

// summary is errors on one line, the first few of them.
func summary(errs []error) string {
	const few = 8
	texts := make([]string, 0, few+1)
	for n, err := range errs {
		if n == few {
			texts = append(texts, fmt.Sprintf("and %d more", len(errs)-few))
			break
		}
		texts = append(texts, err.Error())
	}
	return strings.Join(texts, "; ")
}

// fits reports whether an issuer that signs with algorithms can have signed with k.
func fits(k *jose.PublicKey, algorithms []string) bool {
	return slices.ContainsFunc(algorithms, k.Fits)
}
