package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/sallyport/sallyport/internal/eventually"
	"github.com/sallyport/sallyport/internal/mesh/freeport"
	"github.com/sallyport/sallyport/internal/redisconn/redistest"
)

// TestLoginsWorkAfterRedisGotAnotherAuthorityCertificateAndPassword, without a restart or a signal:
// Redis starts again on new files.
func TestLoginsWorkAfterRedisGotAnotherAuthorityCertificateAndPassword(t *testing.T) {
	f := newFolder(t)
	s := redistest.NewServer(t)
	renew := func(password string) {
		t.Helper()
		a := redistest.NewAuthority(t)
		cert, key := a.Pair()
		clientCert, clientKey := a.Pair()
		for name, content := range map[string][]byte{
			"redis.crt": cert, "redis.key": key, "ca.pem": a.PEM(), "client.crt": clientCert,
			"client.key":     clientKey,
			"redis-password": []byte(password + "\n"),
		} {
			redistest.Write(t, filepath.Join(f.dir, name), content)
		}
		s.StartTLS(filepath.Join(f.dir, "redis.crt"), filepath.Join(f.dir, "redis.key"),
			filepath.Join(f.dir, "ca.pem"), "--requirepass", password)
	}
	renew("the first password")
	f.redis = s.Address() +
		", password_file: redis-password, tls: {enabled: true, ca_file: ca.pem, cert_file: " +
		"client.crt, key_file: client.key}"
	one := f.start("one")
	before := one.login()
	s.Stop()
	renew("the second password")
	eventually.True(t, "a login to work again", func() bool {
		return post(t, one.url+"/login", "",
			map[string]string{"username": "alice", "password": password}).status == http.StatusOK
	})
	eventually.True(t, "a logout of a session of before to be acknowledged", func() bool {
		return post(t, one.url+"/logout", before.str("access_token"), nil).status == http.StatusOK
	})
	if all := one.stdout.String() + one.stderr.String(); strings.Contains(all, "second password") {
		t.Error("the password is in the output")
	}
}

// TestAReplacedAdminTokenIsInForceAtOnce: the new one is accepted and the old one refused; one that
// is too short keeps the one before.
func TestAReplacedAdminTokenIsInForceAtOnce(t *testing.T) {
	f := newFolder(t)
	one := f.start("one")
	want(t, get(t, one.admin+"/admin/status", adminToken), 200)
	next := "fedcba9876543210fedcba9876543210"
	redistest.Write(t, filepath.Join(f.dir, "admin-token"), []byte(next+"\n"))
	want(t, get(t, one.admin+"/admin/status", next), 200)
	want(t, get(t, one.admin+"/admin/status", adminToken), 401)
	for _, broken := range []string{"", "short\n"} {
		redistest.Write(t, filepath.Join(f.dir, "admin-token"), []byte(broken))
		want(t, get(t, one.admin+"/admin/status", next), 200)
		want(t, get(t, one.admin+"/admin/status", strings.TrimSpace(broken)), 401)
	}
	if n := strings.Count(one.stderr.String(), "at least 32 bytes, got 5"); n != 1 ||
		!strings.Contains(one.stderr.String(), "admin.token_file") {
		t.Errorf("expected one line that names the setting, got %d in %s", n, one.stderr)
	}
}

// TestAReloadSaysWhetherAnythingHasChanged, by the digest that sha256sum shows of the file.
func TestAReloadSaysWhetherAnythingHasChanged(t *testing.T) {
	f := newFolder(t)
	one := f.start("one")
	digest := func() string {
		content, err := os.ReadFile(filepath.Join(f.dir, "users.yaml"))
		if err != nil {
			t.Fatal(err)
		}
		sum := sha256.Sum256(content)
		return hex.EncodeToString(sum[:6])
	}
	first := digest()
	for _, path := range []string{"/readyz", "/metrics"} {
		if text := page(t, one.admin+path); !strings.Contains(text, first) {
			t.Errorf("%s does not show the digest %s of the users in force: %s", path, first, text)
		}
	}
	if err := syscall.Kill(os.Getpid(), syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	eventually.True(t, "the reload of what is as it was to say so", func() bool {
		return strings.Contains(one.stderr.String(), `"msg":"reloaded: nothing has changed"`) &&
			strings.Contains(one.stderr.String(), first)
	})
}

func page(t *testing.T, url string) string {
	t.Helper()
	res, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	text, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// TestCheckFindsWhatServeWouldFindInFiles: each row is a configuration that serve refuses, or
// cannot work with.
func TestCheckFindsWhatServeWouldFindInFiles(t *testing.T) {
	f := newFolder(t)
	a := redistest.NewAuthority(t)
	cert, _ := a.Pair()
	_, otherKey := a.Pair()
	f.write("client.crt", string(cert))
	f.write("other.key", string(otherKey))
	f.write("empty", "")
	f.write("short", "short")
	path := f.config("one", "127.0.0.1:0", "127.0.0.1:0")
	at := func(name string) string { return filepath.Join(f.dir, name) }
	for name, row := range map[string]struct {
		args []string
		env  map[string]string
		want string
	}{
		"a certificate and another one's key": {
			args: []string{
				"--redis-tls-enabled", "--redis-tls-cert-file", at("client.crt"), "--redis-tls-key-file",
				at("other.key"),
			},
			want: "redis.tls.cert_file",
		},
		"a certificate that is none": {
			args: []string{
				"--redis-tls-enabled", "--redis-tls-cert-file", at("short"), "--redis-tls-key-file",
				at("other.key"),
			},
			want: "redis.tls.cert_file",
		},
		"authorities that are none": {
			args: []string{"--redis-tls-enabled", "--redis-tls-ca-file", at("short")},
			want: "redis.tls.ca_file",
		},
		"authorities that are not there": {
			args: []string{"--redis-tls-enabled", "--redis-tls-ca-file", at("none")},
			want: "redis.tls.ca_file",
		},
		"an empty password": {
			env:  map[string]string{"SALLYPORT_REDIS_PASSWORD_FILE": at("empty")},
			want: "SALLYPORT_REDIS_PASSWORD_FILE",
		},
		"a password that is not there": {
			env:  map[string]string{"SALLYPORT_REDIS_SENTINEL_PASSWORD_FILE": at("none")},
			want: "SALLYPORT_REDIS_SENTINEL_PASSWORD_FILE",
		},
		"an address without a port": {
			args: []string{"--listen", "localhost"}, want: "--listen",
		},
		"an address with a port that is none": {
			args: []string{"--listen", "127.0.0.1:http"}, want: "--listen",
		},
		"an address that is a URL": {
			args: []string{"--listen", "http://localhost:80"}, want: "--listen",
		},
		"an admin address with a large port": {
			args: []string{"--admin-listen", "127.0.0.1:70000"}, want: "--admin-listen",
		},
		"an audit file in no folder": {
			args: []string{"--audit-file", at("none/audit")}, want: "audit.file",
		},
		"an audit file that is a folder": {args: []string{"--audit-file", f.dir}, want: "audit.file"},
		"a passphrase of a ring without one": {
			args: []string{"--keys-passphrase-file", at("short")}, want: "passphrase_file",
		},
	} {
		t.Run(name, func(t *testing.T) {
			for variable, value := range row.env {
				t.Setenv(variable, value)
			}
			err := execute(t.Context(), io.Discard, io.Discard,
				append([]string{"check", "--config", path}, row.args...)...)
			if err == nil || !strings.Contains(err.Error(), row.want) {
				t.Errorf("expected an error about %s, got %v", row.want, err)
			}
		})
	}
	if names, err := filepath.Glob(at("none*")); err != nil || len(names) > 0 {
		t.Errorf("check has made %v, %v", names, err)
	}
}

// TestAFailedCheckIsPrintedOnce by the program as its users run it: in the log, and not again at
// its end.
func TestAFailedCheckIsPrintedOnce(t *testing.T) {
	if os.Getenv("TEST_OF_ISSUER_CONFIG") != "" {
		os.Args = []string{
			"issuer",
			"serve",
			"--config",
			os.Getenv("TEST_OF_ISSUER_CONFIG"),
			"--redis-checks",
			"enforce",
		}
		if err := os.Unsetenv("TEST_OF_ISSUER_CONFIG"); err != nil {
			t.Fatal(err)
		}
		main()
		t.Fatal("main returned: expected it to exit with a failure")
	}
	f := newFolder(t)
	s := redistest.NewServer(t)
	s.StartPlain("--appendonly", "no", "--maxmemory-policy", "allkeys-lru")
	f.redis = s.Address()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	var out bytes.Buffer
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(ctx, self, "-test.run", "^TestAFailedCheckIsPrintedOnce$")
	cmd.Env = append(os.Environ(),
		"TEST_OF_ISSUER_CONFIG="+f.config("one", freeport.Address(t), freeport.Address(t)))
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Run(); err == nil {
		t.Fatal("it ended well")
	}
	if n := strings.Count(out.String(), "allkeys-lru"); n != 1 {
		t.Errorf("expected the finding once, got it %d times: %s", n, &out)
	}
}
