package faults

import (
	"context"
	"crypto/pbkdf2"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/sallyport/sallyport/internal/config"
	"github.com/sallyport/sallyport/internal/jose"
	"github.com/sallyport/sallyport/internal/keyring"
	"github.com/sallyport/sallyport/internal/token"
)

// user is a user of ours.
type user struct{ name, tenant string }

// leaver is who gets disabled, prober who finds out whether all is well.
var (
	leaver = user{"leaver", "leavers"}
	prober = user{"prober", "probers"}
)

// password is every installation's users'.
var password = rand.Text()

// foreign is an issuer whose tokens gates trust and which has no part in the installation: its
// tokens have no session.
type foreign struct {
	name string
	ring *keyring.Ring
}

// Other issuers: one whose key is revoked some time, one that is revoked whole, and one that stays.
var foreigners = []string{"http://key.test", "http://gone.test", "http://stays.test"}

// prepare makes keys, users and secrets.
func (w *world) prepare(ctx context.Context) error {
	var err error
	if w.ring, err = w.newRing(ctx, "keys"); err != nil {
		return err
	}
	for i, name := range foreigners {
		f := &foreign{name: name}
		if f.ring, err = w.newRing(ctx, fmt.Sprintf("foreign-%d", i)); err != nil {
			return err
		}
		w.foreigners = append(w.foreigners, f)
	}
	if w.hash, err = cheapHash(); err != nil {
		return err
	}
	if err := w.choose(ctx); err != nil {
		return err
	}
	secret := os.WriteFile(filepath.Join(w.dir, "admin-token"), []byte(w.adminToken), 0o600)
	return errors.Join(secret, w.writeUsers())
}

// newRing makes a ring of keys, and its key set beside it.
func (w *world) newRing(ctx context.Context, name string) (*keyring.Ring, error) {
	dir := filepath.Join(w.dir, name)
	folder := keyring.Folder{Dir: dir}
	if _, err := folder.Generate(ctx, keyring.DefaultConfig().Algorithm); err != nil {
		return nil, err
	}
	cfg := keyring.DefaultConfig()
	cfg.Dir = config.Path(dir)
	ring, err := keyring.Open(cfg,
		keyring.Options{Now: time.Now, PublishFor: 5 * time.Minute, MaxLifetime: time.Hour})
	if err != nil {
		return nil, err
	}
	return ring, os.WriteFile(filepath.Join(w.dir, name+".json"), ring.KeySet(), 0o600)
}

// choose finds a user for each client. In a cluster their sessions live on one shard after the
// other.
func (w *world) choose(ctx context.Context) error {
	for n := 0; len(w.users) < clients; n++ {
		u := user{fmt.Sprintf("user-%d", n), fmt.Sprintf("tenant-%d", n)}
		in, err := w.shardOfKey(ctx, "{"+w.ring.SubjectTag(issuerName, u.name)+"}")
		if err != nil {
			return err
		}
		if w.plan.Topology != Cluster || in == (w.logShard+1+len(w.users))%shards {
			w.users = append(w.users, u)
		}
	}
	return nil
}

// cheapHash hashes the password as cheaply as is accepted: what it costs is not what is tested
// here.
func cheapHash() (string, error) {
	const rounds = 1000
	salt := []byte(rand.Text())[:16]
	key, err := pbkdf2.Key(sha256.New, password, salt, rounds, 32)
	adapted := func(b []byte) string {
		return strings.ReplaceAll(base64.RawStdEncoding.EncodeToString(b), "+", ".")
	}
	return fmt.Sprintf("$pbkdf2-sha256$%d$%s$%s", rounds, adapted(salt), adapted(key)), err
}

// writeUsers puts the users' file in place.
func (w *world) writeUsers(disabled ...user) error {
	var b strings.Builder
	b.WriteString("users:\n")
	for _, u := range append(w.users[:clients:clients], leaver, prober) {
		fmt.Fprintf(&b, "- name: %s\n  roles: [user]\n  tenant: %s\n  password_hash: %q\n",
			u.name, u.tenant, w.hash)
		if len(disabled) > 0 && disabled[0] == u {
			b.WriteString("  disabled: true\n")
		}
	}
	file := filepath.Join(w.dir, "users.yaml")
	if err := os.WriteFile(file+".new", []byte(b.String()), 0o600); err != nil {
		return err
	}
	return os.Rename(file+".new", file)
}

// identity is what a token is to say that the harness makes itself.
type identity struct {
	Facts
	ring *keyring.Ring
	old  time.Duration // how long ago it says that it was made
}

// factsOf returns what selectors name in the tokens of a user's sessions.
func (w *world) factsOf(u user) Facts {
	return Facts{Issuer: issuerName, Subject: u.name, Client: "sallyport", Tenant: u.tenant}
}

// ours is a session of a user as an issuer would have begun it just now: it has no record of it,
// but ends it all the same.
func (w *world) ours(u user) identity { return identity{Facts: w.factsOf(u), ring: w.ring} }

// stranger is a token of another issuer, for a subject, client and tenant of its own.
func (w *world) stranger(of *foreign, number int) identity {
	return identity{ring: of.ring, Facts: Facts{
		Issuer:  of.name,
		Subject: fmt.Sprintf("sub-%d", number),
		Client:  fmt.Sprintf("client-%d", number),
		Tenant:  fmt.Sprintf("tenant-%d", number),
	}}
}

// mint makes a token, nil when that does not work.
func (w *world) mint(as identity) *session {
	e := Event{Op: Mint, Begin: w.now(), Old: as.old, Status: 200}
	bits := make([]byte, 32)
	_, _ = rand.Read(bits) // never fails (crypto/rand)
	made := time.Now().Add(-as.old)
	claims := token.Claims{
		Issuer:   as.Issuer,
		Subject:  as.Subject,
		Audience: []string{audience},
		ClientID: as.Client,
		Tenant:   as.Tenant,
		ID:       base64.RawURLEncoding.EncodeToString(bits[:16]),
		IssuedAt: made.Unix(),
		Expiry:   made.Add(time.Hour).Unix(),
	}
	e.Session, e.Token = claims.ID, claims.ID
	if as.Issuer == issuerName {
		claims.SessionID = w.ring.SubjectTag(issuerName,
			as.Subject) + "~" + base64.RawURLEncoding.EncodeToString(
			bits[16:],
		)
		claims.AuthTime = claims.IssuedAt
		e.Session = claims.SessionID
	}
	content, err := claims.Marshal()
	if err != nil {
		return nil
	}
	compact, err := as.ring.SignUnless(func(string) bool { return false }, "at+jwt", content)
	if err != nil {
		return nil
	}
	if parsed, err := jose.Parse(compact); err == nil {
		as.KeyID = parsed.Header.KeyID
	}
	e.Facts, e.End = as.Facts, w.now()
	w.record(e)
	return &session{id: e.Session, facts: as.Facts, access: []access{{claims.ID, compact}}}
}
