package mesh

import (
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// stopWithin is how long children have to end by themselves, unless Options say otherwise.
const stopWithin = 10 * time.Second

// withDefaults checks the options and fills in what they leave open.
func (o Options) withDefaults() (Options, error) {
	if o.Dir == "" || o.Binaries == "" || o.Envoy == "" {
		return o, errors.New(
			"mesh: expected a folder (Dir), the folder of the programs (Binaries) and the path of envoy (Envoy)")
	}
	for _, path := range []*string{&o.Dir, &o.Binaries, &o.Envoy, &o.RedisServer} {
		if *path == "" {
			continue
		}
		absolute, err := filepath.Abs(*path)
		if err != nil {
			return o, fmt.Errorf("mesh: %w", err)
		}
		*path = absolute
	}
	o.Gates = max(o.Gates, 1)
	o.Issuers = max(o.Issuers, 1)
	if o.StopWithin == 0 {
		o.StopWithin = stopWithin
	}
	if o.Upstream == nil {
		o.Upstream = Echo
	}
	o.Users = withPasswords(o.Users)
	return o, errors.Join(o.checkNumbers(), o.checkPrograms())
}

func (o Options) checkNumbers() error {
	switch {
	case o.Port < 0 || o.Port > maxPort:
		return fmt.Errorf(
			"mesh: expected a port from 0 (all free ones) to %d, as the ports above it are used too, got %d",
			maxPort, o.Port)
	case o.Gates > maxGates:
		return fmt.Errorf("mesh: expected at most %d gates, got %d", maxGates, o.Gates)
	case o.Issuers > maxIssuers:
		return fmt.Errorf("mesh: expected at most %d issuers, got %d", maxIssuers, o.Issuers)
	case o.RedisAddress != "" && o.RedisServer != "":
		return errors.New("mesh: expected the address of a Redis or a redis-server to start, got both")
	}
	return nil
}

func (o Options) checkPrograms() error {
	needed := []string{o.issuer(), o.authz(), o.Envoy}
	if o.RedisServer != "" {
		needed = append(needed, o.RedisServer)
	}
	for _, path := range needed {
		info, err := os.Stat(path)
		if err != nil {
			return fmt.Errorf(
				"mesh: a program is missing (`make build` builds issuer, authz and sallyport into one folder): %w",
				err,
			)
		}
		if info.IsDir() || info.Mode()&0o111 == 0 {
			return fmt.Errorf("mesh: %s is not a program", path)
		}
	}
	return nil
}

func (o Options) issuer() string { return filepath.Join(o.Binaries, "issuer") }
func (o Options) authz() string  { return filepath.Join(o.Binaries, "authz") }

func withPasswords(users []User) []User {
	if users == nil {
		users = []User{{Name: "alice", Roles: []string{"admin"}}, {Name: "bob", Roles: []string{"user"}}}
	}
	users = slices.Clone(users)
	for i := range users {
		if users[i].Password == "" {
			users[i].Password = newPassword()
		}
	}
	return users
}

// newPassword makes a password of 80 random bits that can be read aloud, and needs no quotes in a
// shell.
func newPassword() string {
	text := strings.ToLower(rand.Text())[:16]
	return text[:4] + "-" + text[4:8] + "-" + text[8:12] + "-" + text[12:]
}
