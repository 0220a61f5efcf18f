package main

import (
	"bufio"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/crypto/argon2"

	"github.com/sallyport/sallyport/bench/figure"
	"github.com/sallyport/sallyport/bench/load"
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
// login the hash of its password is. With another checkout, its issuer has a turn in each round.
func (b *bench) issuer(ctx context.Context) (err error) {
	ours, stop, err := b.startIssuer(ctx, b.built.dir)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, stop()) }()
	if err := b.logins(ctx, ours); err != nil {
		return err
	}
	if b.built.base.Path == "" {
		return b.refreshesAndLogouts(ctx, ours, nil)
	}
	other, stopOther, err := b.startIssuer(ctx, b.built.baseIssuer)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, stopOther()) }()
	return b.refreshesAndLogouts(ctx, ours, other)
}

// startIssuer starts a mesh of programs, with its issuer on the core that is measured.
func (b *bench) startIssuer(ctx context.Context, programs string) (_ *asker, _ func() error,
	err error) {
	dir, err := os.MkdirTemp("", "bench")
	if err != nil {
		return nil, nil, fmt.Errorf("bench: %w", err)
	}
	m, err := b.issuerMesh(ctx, dir, programs)
	if err != nil {
		return nil, nil, errors.Join(err, os.RemoveAll(dir))
	}
	a := &asker{
		url: m.Endpoints().Issuer, admin: m.Endpoints().IssuerAdmin,
		issuer: m.Child("issuer-1").PID(), redis: m.Child("redis").PID(),
	}
	stop := func() error { return errors.Join(m.Stop(), os.RemoveAll(dir)) }
	if err := world.Pin(a.issuer, b.cores.Measured); err != nil {
		return nil, nil, errors.Join(err, stop())
	}
	return a, stop, nil
}

// issuerMesh starts a whole mesh as the demo does, with users of ours.
func (b *bench) issuerMesh(ctx context.Context, dir, programs string) (*mesh.Mesh, error) {
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
		Dir: dir, Binaries: programs, Envoy: envoy, RedisServer: redis,
		Users: []mesh.User{{Name: dear, Password: password, Roles: []string{"user"}}},
		Rewrite: func(name, content string) string {
			switch name {
			case "issuer.yaml": // else they would be hashed again as they should be
				content = strings.Replace(content, "  hashing:", "  upgrade_hashes: false\n  hashing:", 1)
				if b.profiles != "" {
					content = strings.Replace(content, "admin: {", "admin: {pprof: true, ", 1)
				}
				return content
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

// asker asks an issuer, over a connection for each client.
type asker struct {
	url, admin string
	issuer     int           // the process
	redis      int           // the process
	from       atomic.Uint32 // of which addresses requests come, as a trusted proxy says
}

type conn struct {
	net.Conn
	in   *bufio.Reader
	text []byte // of a request, then of its answer
}

// dial opens connections, each of which must soon have a request: the issuer waits for none that
// has sent nothing.
func (a *asker) dial(ctx context.Context, n int) (conns []*conn, err error) {
	for range n {
		c, err := new(net.Dialer).DialContext(ctx, "tcp", strings.TrimPrefix(a.url, "http://"))
		if err != nil {
			return nil, errors.Join(fmt.Errorf("bench: %w", err), closeAll(conns))
		}
		conns = append(conns, &conn{Conn: c, in: bufio.NewReader(c)})
	}
	return conns, nil
}

func closeAll(conns []*conn) error {
	errs := make([]error, len(conns))
	for i, c := range conns {
		errs[i] = c.Close()
	}
	return errors.Join(errs...)
}

// tokens is what a login and a refresh answer.
type tokens struct {
	RefreshToken string `json:"refresh_token"`
}

// ask sends a request and returns its answer, which must be a 200. It is written and read by hand,
// since whatever it takes is taken from Redis.
func (a *asker) ask(c *conn, path, body string) (t tokens, err error) {
	n := a.from.Add(1) // another each time: no address comes too often
	c.text = fmt.Appendf(c.text[:0], "POST %s HTTP/1.1\r\nHost: issuer\r\n"+
		"Content-Type: application/json\r\nX-Forwarded-For: 10.%d.%d.%d\r\n"+
		"Content-Length: %d\r\n\r\n%s", path, n>>16&255, n>>8&255, n&255, len(body), body)
	if _, err := c.Write(c.text); err != nil {
		return t, fmt.Errorf("bench: %s: %w", path, err)
	}
	status, err := c.answer()
	switch {
	case err != nil:
		return t, fmt.Errorf("bench: %s: %w", path, err)
	case status != 200: // a refusal has no token in it
		return t, fmt.Errorf("bench: %s answered %d: %s", path, status, c.text)
	}
	if err := json.Unmarshal(c.text, &t); err != nil {
		return t, fmt.Errorf("bench: %s: %w", path, err)
	}
	return t, nil
}

// answer reads an answer: its status, and its body into c.text.
func (c *conn) answer() (status int, err error) {
	status, length, err := load.ReadHead(c.in)
	if err != nil {
		return 0, err
	}
	if length > 64<<10 {
		return 0, errors.New("expected an answer of a length up to 64 KiB")
	}
	c.text = slices.Grow(c.text[:0], length)[:length]
	_, err = io.ReadFull(c.in, c.text)
	return status, err
}

func (a *asker) login(c *conn, name string) (string, error) {
	t, err := a.ask(c, "/login", `{"username":"`+name+`","password":"`+password+`"}`)
	if err == nil && t.RefreshToken == "" {
		err = errors.New("bench: a login without a refresh token")
	}
	return t.RefreshToken, err
}

// asked is what n requests, several at a time, have shown: processor times are of one request, in
// microseconds, and busy is the share of its core that the issuer used.
type asked struct{ perSecond, issuer, redis, busy float64 }

// each calls do for 0 to n-1, from as many clients at a time as there are, and measures.
func (a *asker) each(ctx context.Context, n int, do func(c *conn, i int) error) (asked, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	conns, err := a.dial(ctx, min(clients, n))
	if err != nil {
		return asked{}, err
	}
	context.AfterFunc(ctx, func() { _ = closeAll(conns) }) // at the end, and if there is an error
	pids := []int{a.issuer, a.redis}
	before, err := processorTimes(pids)
	if err != nil {
		return asked{}, err
	}
	began := time.Now()
	var next atomic.Int64
	var wg sync.WaitGroup
	for _, c := range conns {
		wg.Go(func() {
			for i := int(next.Add(1)) - 1; i < n && ctx.Err() == nil; i = int(next.Add(1)) - 1 {
				if err := do(c, i); err != nil {
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
	after, err := processorTimes(pids)
	if err != nil {
		return asked{}, err
	}
	per := func(k int) float64 { return float64((after[k] - before[k]).Microseconds()) / float64(n) }
	return asked{
		perSecond: float64(n) / took.Seconds(), issuer: per(0), redis: per(1),
		busy: (after[0] - before[0]).Seconds() / took.Seconds(),
	}, nil
}

const issuerGroup = "An issuer with a core to itself"

// logins compares logins whose password is hashed as shipped with logins whose is not.
func (b *bench) logins(ctx context.Context, a *asker) error {
	login := func(name func(i int) string) func(*conn, int) error {
		return func(c *conn, i int) error {
			_, err := a.login(c, name(i))
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
		share = append(share, 1-rest.issuer/hashed.issuer)
		all = append(all, hashed.issuer/1e3)
	}
	b.row(issuerGroup, "argon2's share of a login's CPU", "", share, figure.AtLeast(0.95))
	b.row(issuerGroup, "CPU per login", "ms", all, figure.Target{})
	return nil
}

// over are the figures of one kind of request, round by round.
type over struct{ perSecond, issuer, redis, busy figure.Samples }

func (o *over) add(one asked) {
	o.perSecond, o.busy = append(o.perSecond, one.perSecond), append(o.busy, one.busy)
	o.issuer, o.redis = append(o.issuer, one.issuer), append(o.redis, one.redis)
}

// refreshesAndLogouts has sessions of ours, and of another checkout's issuer if there is one,
// refreshed and ended in turns.
func (b *bench) refreshesAndLogouts(ctx context.Context, ours, other *asker) error {
	const rounds = 5
	per := max(1, b.settings.logouts/rounds)
	var refreshed, ended, refreshedThere, endedThere over
	for round := range rounds {
		both := []func() error{
			func() error { return b.refreshAndEnd(ctx, ours, per, &refreshed, &ended) },
		}
		if other != nil {
			both = append(both, func() error {
				return b.refreshAndEnd(ctx, other, per, &refreshedThere, &endedThere)
			})
		}
		if round%2 == 1 {
			slices.Reverse(both)
		}
		for _, turn := range both {
			if err := turn(); err != nil {
				return err
			}
		}
	}
	for _, kind := range []struct {
		name, names string
		here, there over
		target      float64
	}{
		{"refresh", "refreshes", refreshed, refreshedThere, 3000},
		{"logout", "logouts", ended, endedThere, 5000},
	} {
		b.row(issuerGroup, kind.names+"/s on one core", "/s", kind.here.perSecond, figure.AtLeast(kind.target))
		b.row(issuerGroup, "CPU per "+kind.name, "µs", kind.here.issuer, figure.Target{})
		b.row(issuerGroup, "CPU of Redis per "+kind.name, "µs", kind.here.redis, figure.Target{})
		b.row(issuerGroup, "share of its core that the issuer used, "+kind.names, "", kind.here.busy,
			figure.Target{})
		if other == nil {
			continue
		}
		if err := errors.Join(
			b.ratio(issuerGroup, kind.names+"/s, over base", kind.here.perSecond, kind.there.perSecond,
				figure.Target{}),
			b.ratio(issuerGroup, "CPU per "+kind.name+", over base", kind.here.issuer, kind.there.issuer,
				figure.Target{}),
			b.ratio(issuerGroup, "CPU of Redis per "+kind.name+", over base", kind.here.redis,
				kind.there.redis, figure.Target{}),
		); err != nil {
			return err
		}
	}
	return nil
}

func refreshToken(t string) string { return `{"refresh_token":"` + t + `"}` }

// refreshAndEnd makes n sessions, refreshes each of them once, and ends them.
func (b *bench) refreshAndEnd(ctx context.Context, a *asker, n int, refreshed, ended *over) error {
	sessions := make([]string, n)
	_, err := a.each(ctx, n, func(c *conn, i int) (err error) {
		sessions[i], err = a.login(c, cheap(i))
		return err
	})
	if err != nil {
		return err
	}
	kept := b.profile(ctx, a.admin, "refresh")
	r, err := a.each(ctx, n, func(c *conn, i int) error {
		t, err := a.ask(c, "/refresh", refreshToken(sessions[i]))
		if err == nil && (t.RefreshToken == "" || t.RefreshToken == sessions[i]) {
			err = errors.New("bench: a refresh without another refresh token")
		}
		sessions[i] = t.RefreshToken
		return err
	})
	if err = errors.Join(err, kept()); err != nil {
		return err
	}
	kept = b.profile(ctx, a.admin, "logout")
	l, err := a.each(ctx, n, func(c *conn, i int) error {
		_, err := a.ask(c, "/logout", refreshToken(sessions[i]))
		return err
	})
	if err = errors.Join(err, kept()); err != nil {
		return err
	}
	refreshed.add(r)
	ended.add(l)
	return nil
}
