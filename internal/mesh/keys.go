package mesh

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"

	"github.com/sallyport/sallyport/internal/credential"
	"github.com/sallyport/sallyport/internal/keyring"
)

// makeKeys creates a key ring in dir, unless there is one already.
func makeKeys(ctx context.Context, dir string) error {
	folder := keyring.Folder{Dir: dir}
	_, err := folder.Generate(ctx, keyring.DefaultConfig().Algorithm)
	if err != nil && !errors.Is(err, keyring.ErrExists) {
		return fmt.Errorf("mesh: make keys: %w", err)
	}
	return nil
}

// makeAdminToken creates the token of the admin API, unless there is one already.
func makeAdminToken(path string) error {
	if _, err := os.Stat(path); !errors.Is(err, os.ErrNotExist) {
		if err != nil {
			return fmt.Errorf("mesh: %w", err)
		}
		return nil
	}
	return replaceFile(path, []byte(rand.Text()+rand.Text()+"\n"), 0o600)
}

// hashPasswords returns the entries of users.yaml.
func hashPasswords(users []User) ([]userEntry, error) {
	entries := make([]userEntry, len(users))
	for i, u := range users {
		hash, err := credential.Hash([]byte(u.Password), credential.DefaultParams())
		if err != nil {
			return nil, fmt.Errorf("mesh: password of %s: %w", u.Name, err)
		}
		entries[i] = userEntry{Name: u.Name, Roles: u.Roles, PasswordHash: hash}
	}
	return entries, nil
}
