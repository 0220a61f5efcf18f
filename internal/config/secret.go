package config

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"

	"github.com/sallyport/sallyport/internal/livefile"
	"github.com/sallyport/sallyport/internal/ownfile"
)

// Path is a file's path. Load makes a relative one from a configuration file relative to that
// file's folder; one from the environment or a flag stays relative to the working directory.
type Path string

const redacted = "[redacted]"

// Secret is a string that prints, marshals and logs as "[redacted]", however it is formatted. In a
// file, a Secret tagged yaml:"password" may also be given as password_file, in the environment as
// ..._PASSWORD_FILE: the named file's content less one trailing line break. Giving both is an
// error.
type Secret struct {
	value string
	file  string // that it was read from; "" when it was given itself
}

// NewSecret makes a secret of s.
func NewSecret(s string) Secret { return Secret{value: s} }

// Reveal returns the secret itself.
func (s Secret) Reveal() string { return s.value }

// IsZero reports whether the secret is empty.
func (s Secret) IsZero() bool { return s.value == "" }

// File returns the path that the secret was read from; "" when it was given itself.
func (s Secret) File() string { return s.file }

// Place returns the secret without what it holds if that is in a file, where it may change: two
// that name one file are then equal.
func (s Secret) Place() Secret {
	if s.file != "" {
		s.value = ""
	}
	return s
}

// Live returns the secret as its file has it now; for good if it was given itself, or in a file
// that can be read once only, as a pipe. setting is the secret's, "redis.password". check, which
// may be nil, returns what is wrong with a new one; its error must not quote it.
func (s Secret) Live(files *livefile.Files, setting string,
	check func(Secret) error) (*livefile.File[Secret], error) {
	if s.file == "" {
		return livefile.Fixed(s), nil
	}
	if info, err := os.Stat(s.file); err == nil && !info.Mode().IsRegular() {
		return livefile.Fixed(s), nil
	}
	parse := func(contents [][]byte) (Secret, error) {
		read := Secret{value: string(ownfile.Secret(contents[0])), file: s.file}
		if read.IsZero() { // a file that is just being written, perhaps
			return read, errors.New("expected a secret, got an empty file")
		}
		if check != nil {
			return read, check(read)
		}
		return read, nil
	}
	return livefile.Open(files,
		livefile.Spec[Secret]{Setting: setting + "_file", Paths: []string{s.file}, Parse: parse})
}

// String returns "[redacted]".
func (s Secret) String() string { return redacted }

// GoString returns "[redacted]".
func (s Secret) GoString() string { return redacted }

// Format writes "[redacted]" for every verb; without it, %x and %d would show the bytes.
func (s Secret) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, redacted) }

// MarshalText returns "[redacted]", for JSON, YAML and the like.
func (s Secret) MarshalText() ([]byte, error) { return []byte(redacted), nil }

// LogValue returns "[redacted]", for slog.
func (s Secret) LogValue() slog.Value { return slog.StringValue(redacted) }

// maxSecret is the size in bytes that a secret's file may have.
const maxSecret = 64 << 10

// readSecret reads the file that holds a secret. Its error names the file and nothing of its
// content.
func readSecret(path string) (Secret, error) {
	f, err := os.Open(path)
	if err != nil {
		return Secret{}, fmt.Errorf("cannot read the secret: %w", err)
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxSecret+1)) // one more shows that it is too large
	switch {
	case err != nil:
		return Secret{}, fmt.Errorf("cannot read the secret: %w", err)
	case len(b) > maxSecret:
		return Secret{}, fmt.Errorf("expected a secret of at most %d bytes in %s, got more",
			maxSecret, path)
	}
	text := string(ownfile.Secret(b))
	if text == "" {
		return Secret{}, fmt.Errorf("expected a secret in %s, got an empty file", path)
	}
	return Secret{value: text, file: path}, nil
}
