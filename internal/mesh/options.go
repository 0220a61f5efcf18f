package mesh

import (
	"crypto/rand"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// Options say what a mesh consists of. Dir, Binaries and Envoy are needed; the zero value of
// everything else is useful.
type Options struct {
	// Dir is the folder that takes everything generated: configuration, keys, logs, endpoints.json.
	// It is created when it is not there. Keys that are already in it are used again, its
	// configuration files are written anew.
	Dir string
	// Binaries is the folder with the programs issuer and authz.
	Binaries string
	// Envoy is the path of the envoy program.
	Envoy string

	// Module is the path of the gate's dynamic module, which Envoy then loads: there are no other
	// gates. "": Envoy asks gates.
	Module string

	// RedisAddress is the host:port of a Redis that already runs. RedisServer is the path of a
	// redis-server program to start. Without either, Redis is embedded: miniredis, in this process.
	RedisAddress string
	RedisServer  string

	// Port is the gateway's port, from which all the others are counted; with 0 every listener
	// takes a free port.
	Port int
	// Gates and Issuers are how many of each there are; 0 means 1.
	Gates   int
	Issuers int
	// Users can log in. Nil means alice, with role admin, and bob; an empty Password is replaced by
	// a random one.
	Users []User
	// Upstream answers what Envoy lets pass. Nil means Echo.
	Upstream http.Handler

	// EncodeRawHeaders makes Envoy hand request headers to the gates as bytes, one entry for each
	// line the client sent.
	EncodeRawHeaders bool
	// IssuerArgs and GateArgs are further flags for every issuer and every gate. They win over the
	// configuration files.
	IssuerArgs []string
	GateArgs   []string
	// Env, when set, returns what a child, named as gate-1 or redis, has in its environment besides
	// ours.
	Env func(child string) []string
	// Rewrite, when set, may change a configuration file, named as issuer.yaml, before it is written.
	Rewrite func(name, content string) string

	// Progress, when set, is told what is being done, as "waiting for gate-1 to be ready", from one
	// goroutine at a time.
	Progress func(doing string)
}

// User is someone who can log in to the mesh.
type User struct {
	Name     string   `json:"name"`
	Password string   `json:"password"`
	Roles    []string `json:"roles"`
}

// withDefaults checks the options and fills in what they leave open.
func (o Options) withDefaults() (Options, error) {
	if o.Dir == "" || o.Binaries == "" || o.Envoy == "" {
		return o, errors.New("mesh: expected a folder (Dir), " +
			"the folder of the programs (Binaries) and the path of envoy (Envoy)")
	}
	// Children run in Dir, where a path relative to our working directory would mean another file.
	for _, path := range []*string{&o.Dir, &o.Binaries, &o.Envoy, &o.RedisServer, &o.Module} {
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
	if o.Upstream == nil {
		o.Upstream = Echo
	}
	o.Users = withPasswords(o.Users)
	return o, errors.Join(o.checkNumbers(), o.checkPrograms())
}

func (o Options) checkNumbers() error {
	switch {
	case o.Port < 0 || o.Port > maxPort:
		return fmt.Errorf("mesh: expected a port from 0 (all free ones) to %d, "+
			"as the ports above it are used too, got %d", maxPort, o.Port)
	case o.Gates > maxGates:
		return fmt.Errorf("mesh: expected at most %d gates, got %d", maxGates, o.Gates)
	case o.Module != "" && o.Gates > 1:
		return fmt.Errorf("mesh: expected one gate, the one inside Envoy, got %d", o.Gates)
	case o.Issuers > maxIssuers:
		return fmt.Errorf("mesh: expected at most %d issuers, got %d", maxIssuers, o.Issuers)
	case o.RedisAddress != "" && o.RedisServer != "":
		return errors.New(
			"mesh: expected the address of a Redis or a redis-server to start, got both")
	}
	return nil
}

func (o Options) checkPrograms() error {
	needed := []string{o.issuer(), o.authz(), o.Envoy}
	if o.RedisServer != "" {
		needed = append(needed, o.RedisServer)
	}
	if o.Module != "" {
		if _, err := os.Stat(o.Module); err != nil {
			return fmt.Errorf("mesh: the module is missing (`make module` builds it): %w", err)
		}
	}
	for _, path := range needed {
		info, err := os.Stat(path)
		if err != nil {
			return fmt.Errorf("mesh: a program is missing "+
				"(`make build` builds issuer, authz and sallyport into one folder): %w", err)
		}
		if info.IsDir() || info.Mode()&0o111 == 0 {
			return fmt.Errorf("mesh: %s is not a program", path)
		}
	}
	return nil
}

// ModuleFile is the name of the gate's dynamic module, beside the programs.
const ModuleFile = "libsallyport.so"

func (o Options) issuer() string { return filepath.Join(o.Binaries, "issuer") }
func (o Options) authz() string  { return filepath.Join(o.Binaries, "authz") }

func withPasswords(users []User) []User {
	if users == nil {
		users = []User{
			{Name: "alice", Roles: []string{"admin"}}, {Name: "bob", Roles: []string{"user"}},
		}
	}
	users = slices.Clone(users)
	for i := range users {
		if users[i].Password == "" {
			users[i].Password = newPassword()
		}
	}
	return users
}

// newPassword returns a password of 80 random bits that can be read aloud, and needs no quotes in a
// shell.
func newPassword() string {
	text := strings.ToLower(rand.Text())[:16]
	return text[:4] + "-" + text[4:8] + "-" + text[8:12] + "-" + text[12:]
}
