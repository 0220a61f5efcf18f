package main

import (
	"context"
	"encoding/base64"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"golang.org/x/crypto/argon2"

	"github.com/sallyport/sallyport/internal/eventually"
)

// loginFrom posts a login as a proxy on this machine would for a client, and returns the answer's
// status.
func loginFrom(ctx context.Context, c *http.Client, url, client, name, word string) (int, error) {
	text := fmt.Sprintf(`{"username":%q,"password":%q}`, name, word)
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, url+"/login", strings.NewReader(text))
	if err != nil {
		return 0, err
	}
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("X-Forwarded-For", client)
	res, err := c.Do(r)
	if err != nil {
		return 0, err
	}
	return res.StatusCode, res.Body.Close()
}

// TestAFloodFromOneNetworkKeepsNobodyFromLoggingIn is the attack: one IPv6 /48, a new /64 for each
// wrong guess, and an issuer with room for one password at a time. Everybody else's login is
// answered, whether they have been there before or not.
func TestAFloodFromOneNetworkKeepsNobodyFromLoggingIn(t *testing.T) {
	t.Setenv("SALLYPORT_HTTP_TRUSTED_PROXIES", "127.0.0.1/32")
	t.Setenv("SALLYPORT_USERS_HASHING_CONCURRENCY", "1")
	t.Setenv("SALLYPORT_USERS_HASHING_QUEUE", "12")
	t.Setenv("SALLYPORT_USERS_HASHING_WAIT", "1m")
	f := newFolder(t)
	// A hash as light as another system may have made it: what counts is how many wait, not for how
	// long.
	salt := []byte("0123456789abcdef")
	b64 := base64.RawStdEncoding.EncodeToString
	f.hash = "$argon2id$v=19$m=4096,t=1,p=1$" + b64(salt) + "$" + b64(
		argon2.IDKey([]byte(password), salt, 1, 4096, 1, 32))
	f.users("")
	r := f.start("one")

	const flooding = 20 // more than may wait
	ctx, stop := context.WithCancel(t.Context())
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: flooding + 1}}
	defer client.CloseIdleConnections()
	var (
		flood                      sync.WaitGroup
		next, turnedAway, answered atomic.Int64
		failed                     = make(chan error, flooding)
	)
	for range flooding {
		flood.Go(func() {
			for ctx.Err() == nil {
				n := next.Add(1)
				status, err := loginFrom(ctx, client, r.url,
					fmt.Sprintf("2001:db8:1:%x::1", n%65536), fmt.Sprint("nobody", n), "wrong")
				switch {
				case err != nil && ctx.Err() == nil:
					failed <- err
					return
				case status == http.StatusServiceUnavailable:
					turnedAway.Add(1)
				case status != 0:
					answered.Add(1)
				}
			}
		})
	}
	eventually.True(t, "the flood to fill the queue", func() bool { return turnedAway.Load() > 0 })
	statuses := map[int]int{}
	const honest = 33
	for i := range honest {
		from := fmt.Sprintf("198.51.%d.7", i)
		if i%3 == 0 {
			from = fmt.Sprintf("2001:db8:%x::1", 0x100+i)
		}
		status, err := loginFrom(t.Context(), client, r.url, from, "alice", password)
		if err != nil {
			t.Fatal(err)
		}
		statuses[status]++
	}
	stop()
	flood.Wait()
	close(failed)
	for err := range failed {
		t.Error(err)
	}
	if statuses[http.StatusOK] != honest {
		t.Errorf("of %d honest logins: %v", honest, statuses)
	}
	if answered.Load() == 0 {
		t.Error("the flood's own network got no turn at all")
	}
}

// TestANameThatLogsInTooOftenIsToldToWait: each session is stored, so an ordinary account must not
// fill Redis. Nobody without its password learns of it, and another name is not concerned.
func TestANameThatLogsInTooOftenIsToldToWait(t *testing.T) {
	t.Setenv("SALLYPORT_LIMITS_NAME_LOGINS_BURST", "3")
	t.Setenv("SALLYPORT_LIMITS_NAME_LOGINS_EVERY", "1h")
	f := newFolder(t)
	f.write("users.yaml", fmt.Sprintf(
		"users:\n- {name: alice, password_hash: %q}\n- {name: bob, password_hash: %q}\n",
		f.hash, f.hash))
	r := f.start("one")
	log := func(name, word string) *http.Response {
		res, err := http.Post(r.url+"/login", "application/json",
			strings.NewReader(fmt.Sprintf(`{"username":%q,"password":%q}`, name, word)))
		if err != nil {
			t.Fatal(err)
		}
		_ = res.Body.Close()
		return res
	}
	for _, c := range []struct {
		name, word string
		want       int
	}{
		{"alice", password, 200}, {"alice", password, 200}, {"alice", password, 200},
		{"alice", password, 429},
		{"alice", "wrong", 401}, {"nobody", "wrong", 401}, {"bob", password, 200},
	} {
		res := log(c.name, c.word)
		wait, err := strconv.Atoi(res.Header.Get("Retry-After"))
		if res.StatusCode != c.want || (c.want == 429) != (err == nil && wait > 1800 && wait <= 3600) {
			t.Errorf("%s with %s: got %d, Retry-After %q", c.name, c.word, res.StatusCode,
				res.Header.Get("Retry-After"))
		}
	}
	if !strings.Contains(r.stdout.String(), `"reason":"login_rate"`) {
		t.Errorf("no event gives the reason: %s", r.stdout)
	}
	res, err := http.Get(r.admin + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	text, err := io.ReadAll(res.Body)
	_ = res.Body.Close()
	if err != nil ||
		!strings.Contains(string(text), `sallyport_issuer_logins_total{outcome="login_rate"} 1`) {
		t.Errorf("not counted: %v", err)
	}
}

// TestGarbageDoesNotFillTheAuditLog: refreshes that fail write a bounded number of lines, however
// many there are; what is left out is counted, and what succeeds has its line.
func TestGarbageDoesNotFillTheAuditLog(t *testing.T) {
	t.Setenv("SALLYPORT_AUDIT_RATE", "0.1")
	t.Setenv("SALLYPORT_AUDIT_BURST", "10")
	f := newFolder(t)
	r := f.start("one")
	const garbage = 300
	for i := range garbage {
		want(t, r.refresh(fmt.Sprint("garbage", i)), http.StatusUnauthorized)
	}
	first := r.login()
	want(t, r.refresh(first.str("refresh_token")), http.StatusOK)
	text := r.stdout.String()
	if n := strings.Count(text, `"event":"refresh","outcome":"failure"`); n < 10 || n > garbage/2 {
		t.Errorf("%d refreshes failed, %d lines", garbage, n)
	}
	if !strings.Contains(text, `"event":"refresh","outcome":"success"`) ||
		!strings.Contains(text, `"event":"login","outcome":"success"`) {
		t.Error("what succeeded has no line")
	}
	res, err := http.Get(r.admin + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	metrics, err := io.ReadAll(res.Body)
	_ = res.Body.Close()
	if err != nil ||
		!strings.Contains(string(metrics), `sallyport_audit_suppressed_total{event="refresh"} `) {
		t.Errorf("what was left out is not counted: %v", err)
	}
}

// TestAnUpgradedHashEndsNoSession: a user of another system logs in, and the hash is replaced; the
// password is the same, so the session of that login goes on, and so does one of before.
func TestAnUpgradedHashEndsNoSession(t *testing.T) {
	t.Setenv("SALLYPORT_USERS_UPGRADE_HASHES", "true")
	f := newFolder(t)
	// Werkzeug 3.1.9, of password
	f.hash = "pbkdf2:sha1:2000$QzHeEZy6z2n2fo5q$e1b61fa7cbb69a2620862f6b9ae82850d14f54f1"
	f.users("")
	r := f.start("one")
	first := r.login()
	path := filepath.Join(f.dir, "users.yaml")
	eventually.True(t, "the hash to be replaced", func() bool {
		text, err := os.ReadFile(path)
		return err == nil && strings.Contains(string(text), "$argon2id$") &&
			!strings.Contains(string(text), "pbkdf2")
	})
	second := r.login()
	for _, a := range []answer{first, second} {
		want(t, r.refresh(a.str("refresh_token")), http.StatusOK)
	}
	if strings.Contains(r.stdout.String(), `"actor":"users"`) {
		t.Errorf("sessions were ended: %s", r.stdout)
	}
}
