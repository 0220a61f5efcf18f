package e2e_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"github.com/redis/go-redis/v9"

	"github.com/sallyport/sallyport/internal/eventually"
	"github.com/sallyport/sallyport/internal/mesh"
	"github.com/sallyport/sallyport/internal/meshtest"
)

// TestAttacks are the attacks on revocation and sessions, by their numbers: two issuers and two
// gates behind the real Envoy, on a real redis-server. What needs more Redis servers or other
// clocks is in internal/revocation/redislog and e2e/faults.
func TestAttacks(t *testing.T) {
	b := newBesieged(t)
	for _, attack := range []struct {
		name string
		test func(b *besieged)
	}{
		{"94_cutoff_and_login_in_one_second", (*besieged).loginInTheSecondOfALogout},
		{"95_refresh_beside_refresh", (*besieged).refreshBesideRefresh},
		{"96_refresh_beside_revoke", (*besieged).refreshBesideLogout},
		{"98_entry_dropped_before_its_tokens_expiry", (*besieged).entriesOutliveTheirTokens},
		{"99_two_tokens_confused_in_the_cache", (*besieged).twoTokensAtOnce},
		{"92_storage_error", (*besieged).storageError},
		{"86_flushall", func(b *besieged) { b.survives(func() { b.do("FLUSHALL") }) }},
		{"86_flushall_before_a_log_out_everywhere", (*besieged).flushedBeforeALogout},
		{"87_trimmed_log", func(b *besieged) {
			b.survives(func() { b.do("XTRIM", "{sallyport}:rev:log", "MAXLEN", 1) })
		}},
		{"90_dropped_connection_and_missed_entries", func(b *besieged) {
			b.survives(func() { b.do("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes") })
		}},
		{"91_log_id_goes_back", (*besieged).logGoesBack},
		{"91_older_disk_with_the_session_in_it", (*besieged).olderDiskRevivesNoSession},
		{"85_gate_restarts_while_redis_is_down", (*besieged).gateRestartsWithoutRedis},
		{"97_reuse_after_a_restart", (*besieged).reuseAfterARestart},
		{"100_a_disabled_user_refreshes", (*besieged).disabledUserRefreshes},
	} {
		t.Run(attack.name, func(t *testing.T) { attack.test(b.in(t)) })
	}
}

const besiegedGrace = 5 * time.Second

// besieged is a mesh under attack.
type besieged struct {
	*testing.T
	stack *meshtest.Stack
	gates []authv3.AuthorizationClient
	redis *redis.Client
	alice mesh.User
	bob   mesh.User
	calls *caller
}

func newBesieged(t *testing.T) *besieged {
	s := meshtest.Start(t, meshtest.Options{Gates: 2, Issuers: 2, Mesh: func(o *mesh.Options) {
		o.IssuerArgs = []string{fmt.Sprintf("--refresh-grace=%v", besiegedGrace)}
	}})
	b := &besieged{
		T: t, stack: s, gates: dialGates(t, s), alice: user(t, s, "alice"),
		bob: user(t, s, "bob"),
	}
	b.redis = redis.NewClient(&redis.Options{Addr: s.Endpoints().Redis})
	t.Cleanup(func() { _ = b.redis.Close() })
	return b.in(t)
}

func (b *besieged) in(t *testing.T) *besieged {
	other := *b
	other.T, other.calls = t, newCaller(t, b.stack.Endpoints().Gateway)
	return &other
}

func (b *besieged) do(args ...any) {
	b.Helper()
	if err := b.redis.Do(b.Context(), args...).Err(); err != nil {
		b.Fatal(err)
	}
}

func (b *besieged) refresh(token string) answer {
	b.Helper()
	return b.calls.post(b.T, "/refresh", map[string]string{"refresh_token": token})
}

func (b *besieged) logout(token string) {
	b.Helper()
	if a := b.calls.send(b.T, http.MethodPost, "/logout?wait=5s", nil,
		bearer(token)); a.status != http.StatusOK {
		b.Fatalf("logout: %d %s", a.status, a.body)
	}
}

// refused wants every gate to refuse the token as revoked, and Envoy with them.
func (b *besieged) refused(token string) {
	b.Helper()
	for i, gate := range b.gates {
		if status := check(b.T, gate, token); status != http.StatusUnauthorized {
			b.Errorf("gate %d answers %d for a revoked token", i+1, status)
		}
	}
	b.calls.get(b.T, "/protected", bearer(token)).refused(b.T, 401, "invalid_token", "revoked")
}

// restart restarts a process; a gate that is inside Envoy restarts with it.
func (b *besieged) restart(child string) {
	b.Helper()
	if b.stack.Child(child) == nil {
		child = "envoy"
	}
	ctx, cancel := context.WithTimeout(b.Context(), time.Minute)
	defer cancel()
	if err := b.stack.Child(child).Restart(ctx); err != nil {
		b.Fatal(err)
	}
}

// healthy waits until every gate allows what is not revoked, and revoking and logging in work.
func (b *besieged) healthy() {
	b.Helper()
	var fresh tokens
	eventually.True(b.T, "logins to work", func() bool {
		a := b.calls.post(b.T, "/login",
			map[string]string{"username": b.alice.Name, "password": b.alice.Password})
		if a.status == http.StatusOK {
			fresh = a.tokens(b.T)
		}
		return a.status == http.StatusOK
	})
	for i, gate := range b.gates {
		eventually.True(b.T, fmt.Sprintf("gate %d to allow", i+1),
			func() bool { return check(b.T, gate, fresh.Access) == http.StatusOK })
	}
	eventually.True(b.T, "every gate to apply a logout", func() bool {
		return b.calls.send(b.T, http.MethodPost, "/logout?wait=2s", nil,
			bearer(fresh.Access)).status == http.StatusOK
	})
}

// survives ends a session, lets something happen to the log, and holds all gates against it: none
// allows the session's token while they run (S3), nor does one that starts afterwards and knows
// only the log (S4); its refresh token is refused; and all is well again.
func (b *besieged) survives(fault func()) {
	b.Helper()
	ended := b.calls.login(b.T, b.bob)
	b.logout(ended.Access)
	b.refused(ended.Access)
	watched := watching(b.T, b.gates, ended.Access)
	fault()
	b.healthy()
	watched.end(b.T)
	if n := watched.allowed.Load(); n > 0 || watched.denied.Load() == 0 {
		b.Errorf("a revoked token was allowed %d times, refused %d times", n, watched.denied.Load())
	}
	b.restart("gate-2")
	b.refused(ended.Access)
	if a := b.refresh(ended.Refresh); a.status != http.StatusUnauthorized {
		b.Errorf("the refresh token of an ended session: %d %s", a.status, a.body)
	}
}

// flushedBeforeALogout: Redis has lost the user's sessions when the user is logged out everywhere,
// so that no issuer knows their ids. Their access tokens are revoked all the same, and a login in
// the same second stays valid.
func (b *besieged) flushedBeforeALogout() {
	lost, other := b.calls.login(b.T, b.bob), b.calls.login(b.T, b.alice)
	b.do("FLUSHALL")
	b.healthy()
	secret, err := os.ReadFile(b.stack.Endpoints().AdminTokenFile)
	if err != nil {
		b.Fatal(err)
	}
	admin := newCaller(b.T, b.stack.Endpoints().IssuerAdmin)
	for range 3 {
		if a := admin.send(b.T, "POST", "/admin/users/bob/logout?wait=5s", nil,
			bearer(strings.TrimSpace(string(secret)))); a.status != http.StatusOK {
			b.Fatalf("logout: %d %s", a.status, a.body)
		}
		after := b.calls.login(b.T, b.bob)
		b.refused(lost.Access)
		b.calls.get(b.T, "/protected", bearer(after.Access)).reached(b.T)
		b.calls.get(b.T, "/protected", bearer(b.refresh(after.Refresh).tokens(b.T).Access)).reached(b.T)
	}
	b.calls.get(b.T, "/protected", bearer(other.Access)).reached(b.T)
}

// image copies the keys of a pattern as they are now. The function that it returns puts them in
// place of those that exist then, in one step.
func (b *besieged) image(pattern string) (restore func()) {
	b.Helper()
	keys := func() []string {
		found, err := b.redis.Keys(b.Context(), pattern).Result()
		if err != nil {
			b.Fatal(err)
		}
		return found
	}
	older := map[string]string{}
	for _, key := range keys() {
		content, err := b.redis.Dump(b.Context(), key).Result()
		if err != nil {
			b.Fatal(err)
		}
		older[key] = content
	}
	return func() {
		b.Helper()
		newer := keys()
		pipe := b.redis.TxPipeline()
		pipe.Del(b.Context(), newer...)
		for key, content := range older {
			pipe.RestoreReplace(b.Context(), key, 0, content)
		}
		if _, err := pipe.Exec(b.Context()); err != nil {
			b.Fatal(err)
		}
	}
}

// logGoesBack puts an older log in place of the newest, as a restart with an older disk does:
// sequence numbers that were taken are taken again.
func (b *besieged) logGoesBack() { b.survives(b.image("{sallyport}:rev:*")) }

// olderDiskRevivesNoSession: all of Redis goes back to a moment at which a session lived that has
// ended since. No issuer refreshes it, not even while the log is being mended, nor one that starts
// afterwards; its record ends again.
func (b *besieged) olderDiskRevivesNoSession() {
	pair := b.calls.login(b.T, b.bob)
	older := b.image("*")
	b.logout(pair.Access)
	watched := watching(b.T, b.gates, pair.Access)
	older()
	sid, _, _ := strings.Cut(pair.Refresh, ".")
	tag, unique, _ := strings.Cut(sid, "~")
	record := func() string { return b.redis.HGet(b.Context(), "{"+tag+"}:s:"+unique, "state").Val() }
	refused := func() {
		b.Helper()
		if a := b.refresh(pair.Refresh); a.status != http.StatusUnauthorized &&
			a.status != http.StatusServiceUnavailable {
			b.Fatalf("a session that had ended was refreshed: %d (S6)", a.status)
		}
	}
	refused()
	eventually.True(b.T, "the session's record to be ended again",
		func() bool { refused(); return record() != "active" })
	b.healthy()
	b.restart("issuer-1")
	b.healthy()
	for range 4 {
		if a := b.refresh(pair.Refresh); a.status != http.StatusUnauthorized {
			b.Errorf("an issuer that started afterwards: %d %s", a.status, a.body)
		}
	}
	watched.end(b.T)
	if watched.allowed.Load() > 0 {
		b.Errorf("a revoked token: %v", watched)
	}
	b.refused(pair.Access)
}

// gateRestartsWithoutRedis: a gate that starts while Redis hangs allows nothing, through Envoy or
// past it, until Redis answers.
func (b *besieged) gateRestartsWithoutRedis() {
	good := b.calls.login(b.T, b.alice).Access
	stopped := b.stack.Child("redis")
	if err := stopped.Signal(syscall.SIGSTOP); err != nil {
		b.Fatal(err)
	}
	restarted := make(chan error, 1)
	ctx, cancel := context.WithTimeout(b.Context(), time.Minute)
	defer cancel()
	go func() { restarted <- b.stack.Child("gate-1").Restart(ctx) }()
	refusals := 0
	eventually.True(b.T, "the new gate to refuse a hundred times", func() bool {
		status := tryCheck(b.gates[0], good)
		if status == http.StatusOK && refusals > 0 { // before that it may be the old one that answers
			b.Fatal("a gate without a copy of the log allows (S2)")
		}
		if status == http.StatusServiceUnavailable {
			refusals++
		}
		return refusals >= 100
	})
	if err := stopped.Signal(syscall.SIGCONT); err != nil {
		b.Fatal(err)
	}
	if err := <-restarted; err != nil {
		b.Fatal(err)
	}
	b.healthy()
	b.calls.get(b.T, "/protected", bearer(good)).reached(b.T)
}

// storageError: a log that does not answer is a 503 and never a 200, in every form of logout; the
// retry ends the session.
func (b *besieged) storageError() {
	pair := b.calls.login(b.T, b.bob)
	forms := map[string]func() answer{
		"logout": func() answer {
			return b.calls.send(b.T, "POST", "/logout", nil, bearer(pair.Access))
		},
		"logout by refresh token": func() answer {
			return b.calls.post(b.T, "/logout", map[string]string{"refresh_token": pair.Refresh})
		},
		"log out everywhere": func() answer {
			return b.calls.send(b.T, "POST", "/logout?everywhere=true", nil, bearer(pair.Access))
		},
	}
	stopped := b.stack.Child("redis")
	if err := stopped.Signal(syscall.SIGSTOP); err != nil {
		b.Fatal(err)
	}
	var wait sync.WaitGroup
	for name, logout := range forms {
		wait.Go(func() {
			if a := logout(); a.status != http.StatusServiceUnavailable ||
				strings.Contains(string(a.body), "revoked") {
				b.Errorf("%s without Redis: %d %s (S7)", name, a.status, a.body)
			}
		})
	}
	wait.Wait()
	if err := stopped.Signal(syscall.SIGCONT); err != nil {
		b.Fatal(err)
	}
	eventually.True(b.T, "the retry to be acknowledged",
		func() bool { return forms["logout"]().status == http.StatusOK })
	b.logout(pair.Access)
	b.refused(pair.Access)
	b.healthy()
}

// loginInTheSecondOfALogout: a login right after a log out everywhere stays valid, and nothing from
// before it does.
func (b *besieged) loginInTheSecondOfALogout() {
	var last tokens
	for range 5 {
		before := b.calls.login(b.T, b.bob)
		if a := b.calls.send(b.T, "POST", "/logout?everywhere=true&wait=5s", nil,
			bearer(before.Access)); a.status != http.StatusOK {
			b.Fatalf("logout: %d %s", a.status, a.body)
		}
		last = b.calls.login(b.T, b.bob)
		b.refused(before.Access)
		b.calls.get(b.T, "/protected", bearer(last.Access)).reached(b.T)
		if a := b.refresh(before.Refresh); a.status != http.StatusUnauthorized {
			b.Errorf("a refresh token from before: %d %s", a.status, a.body)
		}
	}
	b.calls.get(b.T, "/protected", bearer(b.refresh(last.Refresh).tokens(b.T).Access)).reached(b.T)
}

// refreshBesideRefresh: 50 clients at two issuers spend one refresh token. All get the same next
// one and an access token that works, and the next one works once.
func (b *besieged) refreshBesideRefresh() {
	first := b.calls.login(b.T, b.bob)
	const clients = 50
	var issuers []*caller
	for _, i := range b.stack.Endpoints().Issuers {
		issuers = append(issuers, newCaller(b.T, i.URL))
	}
	answers := make([]answer, clients)
	var wait sync.WaitGroup
	for i := range answers {
		wait.Go(func() {
			answers[i] = issuers[i%len(issuers)].post(b.T, "/refresh",
				map[string]string{"refresh_token": first.Refresh})
		})
	}
	wait.Wait()
	next, sids, ids := answers[0].tokens(b.T).Refresh, map[any]bool{}, map[any]bool{}
	for _, a := range answers {
		got := a.tokens(b.T)
		if got.Refresh != next || got.Refresh == first.Refresh {
			b.Fatal("two clients got two successors")
		}
		_, claims := decode(b.T, got.Access)
		sids[claims["sid"]], ids[claims["jti"]] = true, true
		b.calls.get(b.T, "/protected", bearer(got.Access)).reached(b.T)
	}
	if len(sids) != 1 || len(ids) != clients {
		b.Errorf("%d sessions and %d access tokens, expected 1 and %d", len(sids), len(ids), clients)
	}
	sid, _, _ := strings.Cut(first.Refresh, ".")
	tag, unique, _ := strings.Cut(sid, "~")
	if n := b.redis.HGet(b.Context(), "{"+tag+"}:s:"+unique, "n").Val(); n != "2" {
		b.Errorf("the counter has moved to %s, expected once, to 2", n)
	}
	b.refresh(next).tokens(b.T)
}

// refreshBesideLogout: whatever a refresh handed out that ran beside a logout is revoked when the
// logout is in force everywhere.
func (b *besieged) refreshBesideLogout() {
	won := 0
	for range 10 {
		pair := b.calls.login(b.T, b.bob)
		handed := make(chan answer, 4)
		for range cap(handed) {
			go func() {
				a, err := b.calls.try(
					http.MethodPost,
					"/refresh",
					[]byte(`{"refresh_token":"`+pair.Refresh+`"}`),
					header("Content-Type", "application/json"),
				)
				if err != nil {
					b.Error(err)
				}
				handed <- a
			}()
		}
		b.logout(pair.Access)
		b.refused(pair.Access)
		for range cap(handed) {
			a := <-handed
			if a.status != http.StatusOK {
				continue
			}
			won++
			got := a.tokens(b.T)
			b.refused(got.Access)
			if again := b.refresh(got.Refresh); again.status != http.StatusUnauthorized {
				b.Errorf("the refresh token of a refresh beside a logout: %d %s", again.status, again.body)
			}
		}
	}
	b.Logf("%d refreshes were answered beside 10 logouts; all they handed out is revoked", won)
}

// entriesOutliveTheirTokens: the entry of a session lives longer than any token of it, the newest
// included.
func (b *besieged) entriesOutliveTheirTokens() {
	pair := b.refresh(b.calls.login(b.T, b.bob).Refresh).tokens(b.T)
	_, claims := decode(b.T, pair.Access)
	b.logout(pair.Access)
	secret, err := os.ReadFile(b.stack.Endpoints().AdminTokenFile)
	if err != nil {
		b.Fatal(err)
	}
	admin := newCaller(b.T, b.stack.Endpoints().IssuerAdmin)
	list := admin.get(b.T, fmt.Sprintf("/admin/revocations?kind=sid&value=%v", claims["sid"]),
		bearer(strings.TrimSpace(string(secret))))
	entries, _ := list.field(b.T, "entries").([]any)
	if len(entries) == 0 {
		b.Fatalf("the session has no entry: %s", list.body)
	}
	for _, e := range entries {
		expires, err := time.Parse(time.RFC3339, e.(map[string]any)["expires"].(string))
		if tokens := time.Unix(int64(claims["exp"].(float64)), 0); err != nil ||
			expires.Before(tokens.Add(60*time.Second)) {
			b.Errorf("the entry lives until %v (%v), its token until %v and twice the clock skew",
				expires, err, tokens)
		}
	}
}

// twoTokensAtOnce: two users call through the same gates, side by side, with tokens that the gates
// have cached. The upstream is told of each who it is; and the end of one session is not the
// other's.
func (b *besieged) twoTokensAtOnce() {
	alice, bob := b.calls.login(b.T, b.alice).Access, b.calls.login(b.T, b.bob).Access
	alternate := func(wants map[string]string) {
		var wait sync.WaitGroup
		for token, who := range wants {
			wait.Go(func() {
				for range 100 {
					a, err := b.calls.try(http.MethodGet, "/protected", nil, bearer(token))
					var got mesh.Received
					if err == nil && who != "" {
						err = json.Unmarshal(a.body, &got)
					}
					switch {
					case err != nil:
						b.Error(err)
					case who == "" && a.status != http.StatusUnauthorized:
						b.Errorf("an ended session's token: %d", a.status)
					case got.Headers["x-auth-subject"] != who:
						b.Errorf("expected %s at the upstream, got %d %s", who, a.status, a.body)
					}
				}
			})
		}
		wait.Wait()
	}
	alternate(map[string]string{alice: "alice", bob: "bob"})
	b.logout(bob)
	alternate(map[string]string{alice: "alice", bob: ""})
	swapped := alice[:strings.LastIndexByte(alice, '.')] + bob[strings.LastIndexByte(bob, '.'):]
	b.calls.get(b.T, "/protected", bearer(swapped)).refused(b.T, 401, "invalid_token", "signature")
}

// reuseAfterARestart: issuers and Redis restart, and a refresh token that was spent before comes
// back after the grace window: the session ends, with its access tokens and with what the thief
// has.
func (b *besieged) reuseAfterARestart() {
	first := b.calls.login(b.T, b.bob)
	thief := b.refresh(first.Refresh).tokens(b.T)
	for _, child := range []string{"redis", "issuer-1", "issuer-2"} {
		b.restart(child)
	}
	b.healthy()
	var reuse answer
	eventually.True(b.T, "the grace window to end", func() bool {
		reuse = b.refresh(first.Refresh)
		return reuse.status != http.StatusOK
	})
	if reuse.status != http.StatusUnauthorized || reuse.field(b.T, "error") != "invalid_grant" {
		b.Errorf("reuse: %d %s", reuse.status, reuse.body)
	}
	for _, gate := range b.gates {
		eventually.True(b.T, "every gate to refuse the session's token",
			func() bool { return check(b.T, gate, thief.Access) == http.StatusUnauthorized })
	}
	b.refused(first.Access)
	b.refused(thief.Access)
	if a := b.refresh(thief.Refresh); a.status != http.StatusUnauthorized {
		b.Errorf("the thief's refresh token: %d %s", a.status, a.body)
	}
}

// disabledUserRefreshes: the operator writes it into the file, and nothing else. Every token of the
// user ends, and the user's alone.
func (b *besieged) disabledUserRefreshes() {
	bob, idle, alice := b.calls.login(b.T, b.bob), b.calls.login(b.T, b.bob), b.calls.login(b.T,
		b.alice)
	file := filepath.Join(b.stack.Dir, "users.yaml")
	content, err := os.ReadFile(file)
	if err != nil {
		b.Fatal(err)
	}
	write(b.T, file, replace(b.T, string(content), "- name: bob\n", "- name: bob\n  disabled: true\n"))
	if a := b.refresh(bob.Refresh); a.status != http.StatusUnauthorized ||
		a.field(b.T, "error") != "invalid_grant" {
		b.Errorf("a disabled user's refresh: %d %s", a.status, a.body)
	}
	for _, gate := range b.gates {
		for _, token := range []string{bob.Access, idle.Access} {
			eventually.True(b.T, "every gate to refuse a disabled user's token",
				func() bool { return check(b.T, gate, token) == http.StatusUnauthorized })
		}
	}
	b.refused(idle.Access)
	if a := b.refresh(idle.Refresh); a.status != http.StatusUnauthorized {
		b.Errorf("a disabled user's other refresh: %d %s", a.status, a.body)
	}
	if a := b.calls.post(b.T, "/login",
		map[string]string{"username": b.bob.Name, "password": b.bob.Password},
	); a.status != http.StatusUnauthorized {
		b.Errorf("a disabled user's login: %d %s", a.status, a.body)
	}
	b.calls.get(b.T, "/protected", bearer(b.refresh(alice.Refresh).tokens(b.T).Access)).reached(b.T)
}
