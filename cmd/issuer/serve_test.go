package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/sallyport/sallyport/internal/credential"
	"github.com/sallyport/sallyport/internal/daemon"
	"github.com/sallyport/sallyport/internal/eventually"
	"github.com/sallyport/sallyport/internal/keyring"
	"github.com/sallyport/sallyport/internal/mesh/freeport"
	"github.com/sallyport/sallyport/internal/session/sessiontest"
)

const (
	password   = "correct horse battery staple"
	adminToken = "0123456789abcdef0123456789abcdef"
)

// folder is a folder with everything that an issuer's file names.
type folder struct {
	t     *testing.T
	dir   string
	redis string
	hash  string // of alice's password
	grace string // in which a spent refresh token may be repeated; "": the default
	// receives are the senders of an issuer without users; "": it has users, and no senders.
	receives string
}

func newFolder(t *testing.T) *folder {
	t.Helper()
	f := &folder{t: t, dir: t.TempDir(), redis: sessiontest.RealRedis(t)}
	if _, err := (&keyring.Folder{Dir: filepath.Join(f.dir, "keys")}).Generate(t.Context(),
		"ES256"); err != nil {
		t.Fatal(err)
	}
	hash, err := credential.Hash([]byte(password), credential.DefaultParams())
	if err != nil {
		t.Fatal(err)
	}
	f.hash = hash
	f.users("")
	f.write("admin-token", adminToken+"\n")
	return f
}

// users writes the users file; more stands in alice's entry.
func (f *folder) users(more string) {
	f.t.Helper()
	f.write("users.yaml",
		fmt.Sprintf("users:\n- {name: alice, password_hash: %q, roles: [admin]%s}\n", f.hash, more))
}

func (f *folder) write(name, text string) string {
	f.t.Helper()
	path := filepath.Join(f.dir, name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		f.t.Fatal(err)
	}
	return path
}

// config writes a file for one issuer and gives its path.
func (f *folder) config(name, listen, admin string) string {
	f.t.Helper()
	more := ""
	if f.grace != "" {
		more = "refresh_grace: " + f.grace + "\n"
	}
	users := "audience: api\nusers: {file: users.yaml}\n"
	if f.receives != "" {
		users = f.receives
	}
	return f.write(name+".yaml", more+users+fmt.Sprintf(`name: %s
issuer: http://login.test
listen: %s
keys: {dir: keys}
redis: {address: %s, checks: warn}
revocation: {settle: 200ms, heartbeat: 50ms}
admin: {listen: %s, token_file: admin-token}
`, name, listen, f.redis, admin))
}

// running is an issuer that serves.
type running struct {
	t      *testing.T
	url    string
	admin  string
	stop   context.CancelFunc
	ended  chan error
	stdout *eventually.Buffer
	stderr *eventually.Buffer
}

// start runs `issuer serve` in this process and waits until it is ready.
func (f *folder) start(name string) *running {
	f.t.Helper()
	listen, admin := freeport.Address(f.t), freeport.Address(f.t)
	ctx, cancel := context.WithCancel(context.Background())
	r := &running{
		t:      f.t,
		url:    "http://" + listen,
		admin:  "http://" + admin,
		stop:   cancel,
		ended:  make(chan error, 1),
		stdout: &eventually.Buffer{},
		stderr: &eventually.Buffer{},
	}
	path := f.config(name, listen, admin)
	go func() { r.ended <- execute(ctx, r.stdout, r.stderr, "serve", "--config", path) }()
	f.t.Cleanup(func() {
		cancel()
		<-r.ended
	})
	f.t.Cleanup(func() {
		if f.t.Failed() {
			f.t.Logf("%s says\n%s", name, r.stderr)
		}
	})
	eventually.True(f.t, name+" is ready", func() bool {
		select {
		case err := <-r.ended:
			r.ended <- err
			f.t.Fatalf("%s has ended: %v", name, err)
		default:
		}
		return execute(ctx, io.Discard, io.Discard, "healthcheck", "--config", path) == nil
	})
	return r
}

// execute runs the command as main would.
func execute(ctx context.Context, stdout, stderr io.Writer, args ...string) error {
	cmd := program().Command()
	cmd.SetArgs(args)
	cmd.SetOut(stdout)
	cmd.SetErr(stderr)
	return cmd.ExecuteContext(ctx)
}

type answer struct {
	status int
	json   map[string]any
}

func (a answer) str(name string) string { s, _ := a.json[name].(string); return s }

func get(t *testing.T, url, bearer string) answer {
	t.Helper()
	return ask(t, http.MethodGet, url, bearer, nil)
}

func post(t *testing.T, url, bearer string, members map[string]string) answer {
	t.Helper()
	return ask(t, http.MethodPost, url, bearer, members)
}

func ask(t *testing.T, method, url, bearer string, members map[string]string) answer {
	t.Helper()
	var body io.Reader = http.NoBody
	if members != nil {
		text, err := json.Marshal(members)
		if err != nil {
			t.Fatal(err)
		}
		body = bytes.NewReader(text)
	}
	r, err := http.NewRequestWithContext(t.Context(), method, url, body)
	if err != nil {
		t.Fatal(err)
	}
	if members != nil {
		r.Header.Set("Content-Type", "application/json")
	}
	if bearer != "" {
		r.Header.Set("Authorization", "Bearer "+bearer)
	}
	res, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	a := answer{status: res.StatusCode}
	if err := json.NewDecoder(res.Body).Decode(&a.json); err != nil {
		t.Fatal(err)
	}
	return a
}

func (r *running) login() answer {
	r.t.Helper()
	a := post(r.t, r.url+"/login", "", map[string]string{"username": "alice", "password": password})
	if a.status != http.StatusOK {
		r.t.Fatalf("login: %d %v\n%s", a.status, a.json, r.stderr)
	}
	return a
}

func (r *running) refresh(token string) answer {
	r.t.Helper()
	return post(r.t, r.url+"/refresh", "", map[string]string{"refresh_token": token})
}

func want(t *testing.T, a answer, status int) answer {
	t.Helper()
	if a.status != status {
		t.Fatalf("expected %d, got %d %v", status, a.status, a.json)
	}
	return a
}

// TestTwoIssuersShareTheirSessions is the whole path over a real Redis, its log included.
func TestTwoIssuersShareTheirSessions(t *testing.T) {
	f := newFolder(t)
	one, two := f.start("one"), f.start("two")

	first := one.login()
	second := want(t, two.refresh(first.str("refresh_token")), 200)
	if again := want(t, one.refresh(first.str("refresh_token")), 200); again.str(
		"refresh_token") != second.str("refresh_token") {
		t.Error("the retry at the other issuer gave another token")
	}
	out := want(t, post(t, one.url+"/logout?wait=1s", second.str("access_token"), nil), 200)
	if out.json["revoked"] != true || out.json["seq"].(float64) < 2 || out.str("applied") != "0/0" {
		t.Errorf("got %v", out.json)
	}
	want(t, two.refresh(second.str("refresh_token")), 401)
	last := one.logOutUntilItAppendsNoMore(first.str("access_token"))

	here, there := one.login(), two.login()
	everywhere := want(t, post(t, one.admin+"/admin/users/alice/logout", adminToken, nil), 200)
	if everywhere.json["seq"].(float64) != last+3 {
		t.Errorf("expected two sessions and the user in the log, got %v after %v",
			everywhere.json["seq"], last)
	}
	want(t, two.refresh(here.str("refresh_token")), 401)
	want(t, one.refresh(there.str("refresh_token")), 401)
	want(t, two.refresh(two.login().str("refresh_token")), 200)
}

// logOutUntilItAppendsNoMore repeats a logout until an entry of it is known to be live, so that
// none is appended any more. It gives the place of the log's last entry.
func (r *running) logOutUntilItAppendsNoMore(access string) float64 {
	r.t.Helper()
	eventually.True(r.t, "a logout to be answered by an entry that is there", func() bool {
		before := r.head()
		seq := want(r.t, post(r.t, r.url+"/logout", access, nil), 200).json["seq"].(float64)
		return seq <= before && r.head() == before
	})
	return r.head()
}

// head is the place of the log's last entry.
func (r *running) head() float64 {
	r.t.Helper()
	return want(r.t, get(r.t, r.admin+"/admin/status", adminToken),
		200).json["head"].(map[string]any)["seq"].(float64)
}

// TestIssuersNoticeWhatAUserHasLost: the file is edited by hand, and nobody asks. Sessions and
// access tokens of before end, and a login after the change lasts, although both issuers notice by
// themselves.
func TestIssuersNoticeWhatAUserHasLost(t *testing.T) {
	f := newFolder(t)
	f.users(", scopes: [read]")
	one, two := f.start("one"), f.start("two")
	revoked := func() (n int) {
		list := want(t, get(t, two.admin+"/admin/revocations?kind=sid", adminToken), 200)
		return len(list.json["entries"].([]any))
	}
	before := one.login()
	f.users("") // the scope is gone
	eventually.True(t, "the session to be revoked", func() bool { return revoked() > 0 })
	want(t, two.refresh(before.str("refresh_token")), 401)
	after := two.login()

	// the same word, set anew
	hash, err := credential.Hash([]byte(password), credential.DefaultParams())
	if err != nil {
		t.Fatal(err)
	}
	ended := revoked()
	f.hash = hash
	f.users("")
	eventually.True(t, "the session with the old password to be revoked",
		func() bool { return revoked() > ended })
	want(t, one.refresh(after.str("refresh_token")), 401)

	last := one.login()
	ended = revoked()
	f.users(", disabled: true")
	eventually.True(t, "the session of a disabled user to be revoked", func() bool {
		return revoked() > ended
	})
	want(t, two.refresh(last.str("refresh_token")), 401)
	f.users("")
	want(t, two.refresh(one.login().str("refresh_token")), 200)
}

// TestWhatAUserLostWhileNoIssuerRanEndsAtTheNextStart, also what one had noticed and did not get
// to: the access tokens of before are revoked without anybody asking, those of others stay, and so
// does what only got more.
func TestWhatAUserLostWhileNoIssuerRanEndsAtTheNextStart(t *testing.T) {
	for name, c := range map[string]struct {
		before, after string
		gone, ends    bool
	}{
		"disabled":      {"", ", disabled: true", false, true},
		"a scope less":  {", scopes: [read]", "", false, true},
		"gone":          {"", "", true, true},
		"a scope more":  {"", ", scopes: [read]", false, false},
		"as they were":  {", scopes: [read]", ", scopes: [read]", false, false},
		"another order": {", scopes: [read, write]", ", scopes: [write, read]", false, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newFolder(t)
			users := func(alice, bob string, gone bool) {
				text := "users:\n"
				if !gone {
					text += fmt.Sprintf("- {name: alice, password_hash: %q%s}\n", f.hash, alice)
				}
				f.write("users.yaml", text+fmt.Sprintf("- {name: bob, password_hash: %q%s}\n", f.hash, bob))
			}
			users(c.before, ", scopes: [read]", false)
			one := f.start("one")
			client := sessiontest.Open(t, f.redis).Universal()
			known := func() string { // what bob was when last all was done
				keys := client.Keys(t.Context(), "{*}:users").Val()
				if len(keys) != 1 {
					return ""
				}
				return client.HGet(t.Context(), keys[0], "bob").Val()
			}
			eventually.True(t, "the users to be remembered", func() bool { return known() != "" })
			before := known()
			one.login()
			want(t,
				post(t, one.url+"/login", "", map[string]string{"username": "bob", "password": password}),
				200)
			one.end()
			users(c.after, "", c.gone)
			again := f.start("one")
			eventually.True(t, "all to be done at the start", func() bool { return known() != before })
			revoked := len(want(t, get(t, again.admin+"/admin/revocations?kind=sid", adminToken),
				200).json["entries"].([]any))
			if ends := map[bool]int{true: 2, false: 1}[c.ends]; revoked != ends {
				t.Errorf("%d sessions have ended, expected %d, bob's among them", revoked, ends)
			}
		})
	}
}

// TestReuseIsNoticedAfterARestart: what reuse is known by lies in Redis, and a restart resets none
// of it.
func TestReuseIsNoticedAfterARestart(t *testing.T) {
	f := newFolder(t)
	f.grace = "1s"
	one := f.start("one")
	first := one.login()
	second := want(t, one.refresh(first.str("refresh_token")), 200)
	third := want(t, one.refresh(second.str("refresh_token")), 200)
	one.end()
	again := f.start("one")
	eventually.True(t, "the grace window to end",
		func() bool { return again.refresh(first.str("refresh_token")).status != 200 })
	want(t, again.refresh(first.str("refresh_token")), 401)
	want(t, again.refresh(third.str("refresh_token")), 401)
	if !strings.Contains(again.stdout.String(), `"event":"reuse"`) {
		t.Errorf("the audit log does not tell: %s", again.stdout)
	}
}

// TestASessionIsEndedAgainWhenTheLogIsMended: the log and the session's record both lost the
// logout.
func TestASessionIsEndedAgainWhenTheLogIsMended(t *testing.T) {
	f := newFolder(t)
	one := f.start("one")
	a := one.login()
	want(t, post(t, one.url+"/logout", a.str("access_token"), nil), 200)
	client := sessiontest.Open(t, f.redis).Universal()
	records, err := client.Keys(t.Context(), "*:s:*").Result()
	if err != nil || len(records) != 1 {
		t.Fatalf("expected one session, got %v, %v", records, err)
	}
	pipe := client.TxPipeline()
	pipe.HSet(t.Context(), records[0], "state", "active")
	pipe.Del(t.Context(), "{sallyport}:rev:log")
	if _, err := pipe.Exec(t.Context()); err != nil {
		t.Fatal(err)
	}
	eventually.True(t, "the session that lives again to end", func() bool {
		return client.HGet(t.Context(), records[0], "state").Val() != "active"
	})
	want(t, one.refresh(a.str("refresh_token")), 401)
}

// end stops the issuer as a signal would, and wants it to end well.
func (r *running) end() {
	r.t.Helper()
	r.stop()
	select {
	case err := <-r.ended:
		if err != nil {
			r.t.Errorf("it ended with %v", err)
		}
		r.ended <- err
	case <-time.After(20 * time.Second):
		r.t.Fatal("it does not end")
	}
}

func TestAnIssuerEnds(t *testing.T) {
	r := newFolder(t).start("one")
	r.login()
	r.end()
	if all := r.stdout.String() + r.stderr.String(); strings.Contains(all, password) ||
		strings.Contains(all, adminToken) {
		t.Error("a secret is in the output")
	}
}

func TestAnUnsafeRedisIsNoFoundation(t *testing.T) {
	f := newFolder(t)
	f.redis = sessiontest.RealRedis(t, "--appendonly", "no")
	path := f.config("one", freeport.Address(t), freeport.Address(t))
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	err := execute(ctx, io.Discard, io.Discard, "serve", "--config", path, "--redis-checks", "enforce")
	if err == nil || !strings.Contains(err.Error(), "appendonly") {
		t.Errorf("expected an error that names appendonly, got %v", err)
	}
}

func TestCheckReadsWhatServeWouldRead(t *testing.T) {
	f := newFolder(t)
	path := f.config("one", "127.0.0.1:0", "127.0.0.1:0")
	var out bytes.Buffer
	if err := execute(t.Context(), &out, io.Discard, "check", "--config", path); err != nil ||
		!strings.HasPrefix(out.String(), "ok") {
		t.Errorf("got %q, %v", out.String(), err)
	}
	for name, args := range map[string][]string{
		"no configuration": {"check"},
		"an unknown flag":  {"check", "--config", path, "--redis-password", "x"},
		"no keys":          {"check", "--config", path, "--keys-dir", f.dir},
		"no users": {
			"check", "--config", path, "--users-file", filepath.Join(f.dir, "nobody.yaml"),
		},
		"an argument":  {"check", "--config", path, "please"},
		"no such file": {"check", "--config", filepath.Join(f.dir, "none.yaml")},
	} {
		if err := execute(t.Context(), io.Discard, io.Discard, args...); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

func TestTheHealthOfAnIssuerThatIsNotThereIsAnError(t *testing.T) {
	f := newFolder(t)
	path := f.config("one", "127.0.0.1:0", freeport.Address(t))
	if err := execute(t.Context(), io.Discard, io.Discard, "healthcheck", "--config",
		path); err == nil {
		t.Error("healthy")
	}
}

func TestVersionIsPrinted(t *testing.T) {
	var out bytes.Buffer
	if err := execute(t.Context(), &out, io.Discard, "version"); err != nil ||
		!strings.HasPrefix(out.String(), "issuer "+daemon.BuildVersion(version)+" ") {
		t.Errorf("got %q, %v", out.String(), err)
	}
}
