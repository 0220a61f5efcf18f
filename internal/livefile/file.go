package livefile

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sallyport/sallyport/internal/ownfile"
)

// MaxSize is the most bytes that a file may have.
const MaxSize = 1 << 20

// racy is how long a file may change again without a change of its size and modification time,
// whose clock is coarse. Until it has passed, only the content tells.
const racy = 2 * time.Second

// Spec is which files hold a value, and how it is read from them.
type Spec[T any] struct {
	Setting string   // which names the files, as "redis.tls.ca_file"
	Paths   []string // all of them are read together: a certificate and its key are one value
	// Check, which may be nil, judges each file by what it is, as its mode.
	Check func(fs.FileInfo) error
	// Parse makes the value of the files' contents, in the order of Paths. Its error must quote
	// nothing of them.
	Parse func(contents [][]byte) (T, error)
	// Quiet puts a change in force only when the next look, [Interval] later, finds the same
	// content: for what can be read half written without a sign of it.
	Quiet bool
	// Then is told each value that comes into force after the first. It must not block. nil: nobody
	// is told.
	Then func(T)
}

// File is a value that files hold. Its methods may be called by many goroutines.
type File[T any] struct {
	spec    Spec[T]
	of      *Files
	current atomic.Pointer[version[T]] // never nil; what is in force
	last    atomic.Pointer[observation]

	mu      sync.Mutex // of looking, and for what follows
	trouble string     // what is wrong with the files; "" when nothing is
	pending [sha256.Size]byte
}

// version is a value with the digest of what it was read from.
type version[T any] struct {
	value  T
	digest [sha256.Size]byte
}

// observation is the files as they were when they were looked at, whether they could be read or not.
type observation struct {
	infos   []fs.FileInfo // nil for one that could not be found
	digest  [sha256.Size]byte
	since   time.Time // when files with these infos were first read
	settled bool      // no change can hide behind these infos
}

// Open reads the files, which must be whole, and has files look after them from then on. With nil
// for files nobody but Value does.
func Open[T any](files *Files, spec Spec[T]) (*File[T], error) {
	f := &File[T]{spec: spec, of: files}
	next := f.stat()
	// Looked at before it is read: a change in between is then a change at the next look.
	contents, err := f.read(next)
	if err != nil {
		return nil, err
	}
	value, err := spec.Parse(contents)
	if err != nil {
		return nil, f.named(err)
	}
	f.current.Store(&version[T]{value, next.digest})
	f.last.Store(next)
	files.add(f)
	return f, nil
}

// Fixed is a value that no file holds.
func Fixed[T any](value T) *File[T] {
	f := &File[T]{}
	f.current.Store(&version[T]{value: value})
	f.last.Store(&observation{settled: true})
	return f
}

// Value looks at the files, reads them if they have changed, and gives what is in force: what they
// hold, or, while they cannot be used, what they held before.
func (f *File[T]) Value() T {
	if !f.spec.Quiet {
		f.look(false)
	}
	return f.current.Load().value
}

// Digest is the beginning of the SHA-256 of the content in force, as sha256sum shows it of a single
// file: 12 hexadecimal digits. A value that no file holds has none.
func (f *File[T]) Digest() string {
	if len(f.spec.Paths) == 0 {
		return ""
	}
	d := f.current.Load().digest
	return hex.EncodeToString(d[:6])
}

// Reload reads the files now, changed or not, and waits for no second look. On an error what was in
// force stays so.
func (f *File[T]) Reload() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.load(true, true)
}

// look reads the files if they have changed; by the clock, if they were broken too.
func (f *File[T]) look(tick bool) {
	if f.unchanged(f.last.Load(), f.stat()) && !tick {
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if again := tick &&
		(f.trouble != "" || f.pending != [sha256.Size]byte{}); !again &&
		f.unchanged(f.last.Load(), f.stat()) {
		return
	}
	_ = f.load(tick, false) // told of there
}

// load reads the files and puts in force what is new in them. The caller holds mu.
func (f *File[T]) load(again, now bool) error {
	last, next := f.last.Load(), f.stat()
	if f.same(last, next) {
		next.since = last.since
	}
	contents, err := f.read(next)
	// Only once the value is in force: whoever finds this observation must find its value too.
	defer f.last.Store(next)
	known := err == nil && next.digest == f.current.Load().digest
	switch {
	case known:
		f.pending = [sha256.Size]byte{}
		f.whole()
		return nil
	case err == nil && !again && next.digest == last.digest:
		return nil // broken as before, or waiting for the second look
	case err == nil && f.spec.Quiet && !now && next.digest != f.pending:
		f.pending = next.digest
		return nil
	}
	f.pending = [sha256.Size]byte{}
	var value T
	if err == nil {
		if value, err = f.spec.Parse(contents); err != nil {
			err = f.named(err)
		}
	}
	if err != nil {
		f.broken(err)
		return err
	}
	f.current.Store(&version[T]{value, next.digest})
	f.whole()
	f.of.logger().Info("a file has been read anew", f.attributes()...)
	if f.spec.Then != nil {
		f.spec.Then(value)
	}
	return nil
}

// broken logs once that there are files that cannot be used.
func (f *File[T]) broken(err error) {
	if text := err.Error(); text != f.trouble {
		f.trouble = text
		f.of.logger().
			Error(
				"a file cannot be used: what it held before stays in force",
				append(f.attributes(), "error", err)...)
	}
}

func (f *File[T]) whole() {
	if f.trouble != "" {
		f.trouble = ""
		f.of.logger().Info("a file can be used again", f.attributes()...)
	}
}

func (f *File[T]) attributes() []any {
	return []any{
		slog.String("setting", f.spec.Setting),
		slog.String("file", strings.Join(f.spec.Paths, ", ")),
	}
}

// named returns an error that names the files whose content it is about.
func (f *File[T]) named(err error) error {
	if strings.HasPrefix(err.Error(), f.spec.Paths[0]) { // it says so itself, with the line
		return fmt.Errorf("%s: %w", f.spec.Setting, err)
	}
	return fmt.Errorf("%s: %s: %w", f.spec.Setting, strings.Join(f.spec.Paths, ", "), err)
}

func (f *File[T]) setting() string { return f.spec.Setting }

func (f *File[T]) isBroken() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.trouble != ""
}

func (f *File[T]) stat() *observation {
	l := &observation{since: time.Now()}
	for _, path := range f.spec.Paths {
		info, err := os.Stat(path)
		if err != nil {
			info = nil // reading it says why
		}
		l.infos = append(l.infos, info)
	}
	return l
}

// unchanged reports whether the files are certainly as they were.
func (f *File[T]) unchanged(last, now *observation) bool { return last.settled && f.same(last, now) }

func (f *File[T]) same(last, now *observation) bool {
	return slices.EqualFunc(last.infos, now.infos, func(a, b fs.FileInfo) bool {
		if a == nil || b == nil {
			return a == nil && b == nil
		}
		return os.SameFile(a, b) && a.Size() == b.Size() && a.Mode() == b.Mode() &&
			a.ModTime().Equal(b.ModTime())
	})
}

// read reads all files into an observation, so that its digest is that of what is parsed.
func (f *File[T]) read(l *observation) ([][]byte, error) {
	var contents [][]byte
	hash := sha256.New()
	for _, path := range f.spec.Paths {
		content, err := ownfile.ReadRegular(path, MaxSize, f.spec.Check)
		if err != nil {
			// Without the setting's name the operator would have to guess which of the files this one is.
			return nil, fmt.Errorf("%s: %w", f.spec.Setting, err)
		}
		contents = append(contents, content)
		if len(f.spec.Paths) > 1 { // a single file's is what sha256sum shows
			fmt.Fprintf(hash, "%d\n", len(content))
		}
		hash.Write(content)
	}
	hash.Sum(l.digest[:0])
	l.settled = time.Since(l.since) > racy
	return contents, nil
}
