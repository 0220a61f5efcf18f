package keyset

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/sallyport/sallyport/internal/ownfile"
)

// Check reads what is on this machine as a running gate would, keys, secrets and authorities, and
// returns all that is wrong with it. It asks no issuer and puts nothing in force. A gate starts in
// spite of what it finds, and refuses that issuer's tokens.
func (s *Sets) Check(ctx context.Context) error {
	var errs []error
	for _, i := range s.issuers {
		if err := i.check(ctx); err != nil {
			errs = append(errs, fmt.Errorf("keyset: keys of issuer %q: %w", i.Profile.Issuer, err))
		}
	}
	return errors.Join(errs...)
}

func (i *Issuer) check(ctx context.Context) error {
	if u, ok := i.source.(*urlSource); ok {
		_, err := u.client()
		return err
	}
	a, err := i.source.get(ctx, "")
	if err != nil {
		return err
	}
	_, _, err = i.usable(a)
	if err != nil {
		err = fmt.Errorf("%s: %w", i.source, err)
	}
	return err
}

// CheckCacheDir returns what keeps a folder from being key_cache_dir. It changes nothing; a folder
// that is not there is made at a start.
func CheckCacheDir(dir string) error {
	if dir == "" {
		return nil
	}
	err := ownfile.Folder(dir)
	if _, missing := os.Stat(dir); err == nil && missing == nil {
		err = ownfile.CheckFolder(dir)
	}
	if err != nil {
		return fmt.Errorf("keyset: key_cache_dir: %w", err)
	}
	return nil
}
