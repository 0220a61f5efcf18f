package main

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/crypto/argon2"

	"github.com/sallyport/sallyport/bench/figure"
	"github.com/sallyport/sallyport/bench/world"
	"github.com/sallyport/sallyport/internal/mesh"
)

// The users who log in: one whose password is hashed as shipped, and many whose hashes cost next to
// nothing, for what does not measure hashing.
const (
	dear       = "alice"
	cheapUsers = 40
	password   = "correct horse battery staple"
)

func cheap(i int) string { return fmt.Sprintf("cheap-%02d", i%cheapUsers) }

// clients are how many ask the issuer at a time.
const clients = 32

// issuer measures refreshes and logouts of an issuer that has a core to itself, and what share of a
// login the hash of its password is.
func (b *bench) issuer(ctx context.Context) (err error) {
	dir, err := os.MkdirTemp("", "bench")
	if err != nil {
		return fmt.Errorf("bench: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	m, err := b.issuerMesh(ctx, dir)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, m.Stop()) }()
	child := m.Child("issuer-1")
	if err := world.Pin(child.PID(), b.cores.Measured); err != nil {
		return err
	}
	a := &asker{
		url: m.Endpoints().Issuer, pid: child.PID(),
		client: &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: clients}},
	}
	defer a.client.CloseIdleConnections()
	if err := b.logins(ctx, a); err != nil {
		return err
	}
	return b.refreshesAndLogouts(ctx, a)
}

// issuerMesh starts a whole mesh as the demo does, with users of ours.
func (b *bench) issuerMesh(ctx context.Context, dir string) (*mesh.Mesh, error) {
	envoy, err := mesh.FindEnvoy(b.root)
	if err != nil {
		return nil, err
	}
	redis, err := exec.LookPath("redis-server")
	if err != nil {
		return nil, fmt.Errorf("bench: %w", err)
	}
	hash := weakHash(password)
	return mesh.Start(ctx, mesh.Options{
		Dir: dir, Binaries: b.built.dir, Envoy: envoy, RedisServer: redis,
		Users: []mesh.User{{Name: dear, Password: password, Roles: []string{"user"}}},
		Rewrite: func(name, content string) string {
			switch name {
			case "issuer.yaml": // else they would be hashed again as they should be
				return strings.Replace(content, "  hashing:", "  upgrade_hashes: false\n  hashing:", 1)
			case "users.yaml":
				for i := range cheapUsers {
					content += fmt.Sprintf("- name: %s\n  roles: [user]\n  password_hash: %q\n", cheap(i), hash)
				}
			}
			return content
		},
	})
}

// weakHash is one that no issuer makes, and every issuer checks, in no time.
func weakHash(password string) string {
	salt := []byte("not a secret")
	key := argon2.IDKey([]byte(password), salt, 1, 8, 1, 32)
	encode := base64.RawStdEncoding.EncodeToString
	return fmt.Sprintf("$argon2id$v=%d$m=8,t=1,p=1$%s$%s", argon2.Version, encode(salt), encode(key))
}

// asker asks an issuer.
type asker struct {
	url    string
	pid    int
	client *http.Client
	from   atomic.Uint32 // of which addresses requests come, as a trusted proxy says
}

// tokens is what a login and a refresh answer.
type tokens struct {
	RefreshToken string `json:"refresh_token"`
}

// ask sends a request and returns its answer, which must be a 200.
func (a *asker) ask(ctx context.Context, path string, body map[string]string) (t tokens, err error) {
	text, err := json.Marshal(body)
	if err != nil {
		return t, fmt.Errorf("bench: %w", err)
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, a.url+path, bytes.NewReader(text))
	if err != nil {
		return t, fmt.Errorf("bench: %w", err)
	}
	r.Header.Set("Content-Type", "application/json")
	n := a.from.Add(1) // another each time: no address comes too often
	r.Header.Set("X-Forwarded-For", fmt.Sprintf("10.%d.%d.%d", n>>16&255, n>>8&255, n&255))
	answer, err := a.client.Do(r)
	if err != nil {
		return t, fmt.Errorf("bench: %w", err)
	}
	defer answer.Body.Close()
	text, err = io.ReadAll(io.LimitReader(answer.Body, 64<<10))
	if err != nil {
		return t, fmt.Errorf("bench: %s: %w", path, err)
	}
	if answer.StatusCode != http.StatusOK { // a refusal has no token in it
		return t, fmt.Errorf("bench: %s answered %s: %s", path, answer.Status, text)
	}
	if err := json.Unmarshal(text, &t); err != nil {
		return t, fmt.Errorf("bench: %s: %w", path, err)
	}
	return t, nil
}

func (a *asker) login(ctx context.Context, name string) (string, error) {
	t, err := a.ask(ctx, "/login", map[string]string{"username": name, "password": password})
	if err == nil && t.RefreshToken == "" {
		err = errors.New("bench: a login without a refresh token")
	}
	return t.RefreshToken, err
}

// asked is what n requests, several at a time, have shown.
type asked struct{ perSecond, cpu float64 }

// each calls do for 0 to n-1, from as many clients at a time as there are, and measures.
func (a *asker) each(ctx context.Context, n int,
	do func(ctx context.Context, i int) error) (asked, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	before, err := figure.CPU(a.pid)
	if err != nil {
		return asked{}, err
	}
	began := time.Now()
	var next atomic.Int64
	var wg sync.WaitGroup
	for range min(clients, n) {
		wg.Go(func() {
			for i := int(next.Add(1)) - 1; i < n && ctx.Err() == nil; i = int(next.Add(1)) - 1 {
				if err := do(ctx, i); err != nil {
					cancel(err)
				}
			}
		})
	}
	wg.Wait()
	took := time.Since(began)
	if err := context.Cause(ctx); err != nil {
		return asked{}, err
	}
	after, err := figure.CPU(a.pid)
	return asked{
		perSecond: float64(n) / took.Seconds(), cpu: (after - before).Seconds() * 1e6 / float64(n),
	}, err
}

const issuerGroup = "An issuer with a core to itself"

// logins compares logins whose password is hashed as shipped with logins whose is not.
func (b *bench) logins(ctx context.Context, a *asker) error {
	login := func(name func(i int) string) func(context.Context, int) error {
		return func(ctx context.Context, i int) error {
			_, err := a.login(ctx, name(i))
			return err
		}
	}
	const rounds = 4
	n := max(1, b.settings.logins/rounds)
	var share, all figure.Samples
	for range rounds {
		hashed, err := a.each(ctx, n, login(func(int) string { return dear }))
		if err != nil {
			return err
		}
		rest, err := a.each(ctx, 4*n, login(cheap))
		if err != nil {
			return err
		}
		share = append(share, 1-rest.cpu/hashed.cpu)
		all = append(all, hashed.cpu/1e3)
	}
	b.row(issuerGroup, "argon2's share of a login's CPU", "", share, figure.AtLeast(0.95))
	b.row(issuerGroup, "CPU per login", "ms", all, figure.Target{})
	return nil
}

// refreshesAndLogouts makes sessions, refreshes each of them once a round, and ends them.
func (b *bench) refreshesAndLogouts(ctx context.Context, a *asker) error {
	const rounds = 5
	sessions := make([]string, b.settings.logouts)
	_, err := a.each(ctx, len(sessions), func(ctx context.Context, i int) (err error) {
		sessions[i], err = a.login(ctx, cheap(i))
		return err
	})
	if err != nil {
		return err
	}
	per := max(1, len(sessions)/rounds)
	var refreshed, refreshCPU, ended, endCPU figure.Samples
	for round := range rounds {
		mine := sessions[round*per : min((round+1)*per, len(sessions))]
		r, err := a.each(ctx, len(mine), func(ctx context.Context, i int) error {
			t, err := a.ask(ctx, "/refresh", map[string]string{"refresh_token": mine[i]})
			if err == nil && (t.RefreshToken == "" || t.RefreshToken == mine[i]) {
				err = errors.New("bench: a refresh without another refresh token")
			}
			mine[i] = t.RefreshToken
			return err
		})
		if err != nil {
			return err
		}
		l, err := a.each(ctx, len(mine), func(ctx context.Context, i int) error {
			_, err := a.ask(ctx, "/logout", map[string]string{"refresh_token": mine[i]})
			return err
		})
		if err != nil {
			return err
		}
		refreshed, refreshCPU = append(refreshed, r.perSecond), append(refreshCPU, r.cpu)
		ended, endCPU = append(ended, l.perSecond), append(endCPU, l.cpu)
	}
	b.row(issuerGroup, "refreshes/s on one core", "/s", refreshed, figure.AtLeast(3000))
	b.row(issuerGroup, "logouts/s on one core", "/s", ended, figure.AtLeast(5000))
	b.row(issuerGroup, "CPU per refresh", "µs", refreshCPU, figure.Target{})
	b.row(issuerGroup, "CPU per logout", "µs", endCPU, figure.Target{})
	return nil
}
