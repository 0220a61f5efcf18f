package main

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/sallyport/sallyport/internal/config"
	"github.com/sallyport/sallyport/internal/eventually"
	"github.com/sallyport/sallyport/internal/redisconn"
	"github.com/sallyport/sallyport/internal/redisconn/redistest"
	"github.com/sallyport/sallyport/internal/revocation"
)

// TestAGateIsFreshAgainAfterRedisGotAnotherAuthority, certificate and password, without a restart
// or a signal.
func TestAGateIsFreshAgainAfterRedisGotAnotherAuthority(t *testing.T) {
	dir, server := t.TempDir(), redistest.NewServer(t)
	at := func(name string) string { return filepath.Join(dir, name) }
	renew := func(password string) {
		t.Helper()
		a := redistest.NewAuthority(t)
		cert, key := a.Pair()
		clientCert, clientKey := a.Pair()
		for name, content := range map[string][]byte{
			"redis.crt": cert, "redis.key": key, "ca.pem": a.PEM(), "client.crt": clientCert,
			"client.key": clientKey, "password": []byte(password),
		} {
			redistest.Write(t, at(name), content)
		}
		server.StartTLS(at("redis.crt"), at("redis.key"), at("ca.pem"), "--requirepass", password)
	}
	renew("the first password")
	t.Setenv("SALLYPORT_REDIS_PASSWORD_FILE", at("password"))
	s := newStageOn(t, server.Address(), func(c *redisconn.Config) {
		c.TLS = redisconn.TLSConfig{
			Enabled: true, CAFile: config.Path(at("ca.pem")),
			CertFile: config.Path(at("client.crt")), KeyFile: config.Path(at("client.key")),
		}
		var file struct {
			Redis redisconn.Config `yaml:"redis"`
		}
		file.Redis = redisconn.DefaultConfig()
		must(t, config.Load(&file, config.Options{EnvPrefix: "SALLYPORT"}))
		c.Password = file.Redis.Password
	})
	r := s.serve("--redis-tls-enabled", "--redis-tls-ca-file", at("ca.pem"), "--redis-tls-cert-file",
		at("client.crt"), "--redis-tls-key-file", at("client.key")).
		ready()
	live, gone := s.token("s-1"), s.token("s-2")
	r.wants(200, "", "/protected", live)
	server.Stop()
	eventually.True(t, "the gate is stale",
		func() bool { _, reason, _ := r.ask("/protected", live); return reason == "stale" })
	renew("the second password")
	eventually.True(t, "the gate is fresh again",
		func() bool { status, _, _ := r.ask("/protected", live); return status == 200 })
	eventually.True(t, "a revocation is acknowledged", func() bool {
		_, err := s.log.Append(t.Context(), []revocation.Request{
			{Kind: revocation.KindSID, Issuer: issuerName, Value: "s-2", Reason: "logout", Actor: "alice"},
		})
		return err == nil
	})
	eventually.True(t, "the revocation is in force",
		func() bool { _, reason, _ := r.ask("/protected", gone); return reason == "revoked" })
	r.stopped()
}

// mount moves the configuration that was written last to where Kubernetes mounts a ConfigMap: into a
// folder of its own, to which a link is moved that all files are reached through.
func (s *stage) mount(version string) {
	s.t.Helper()
	folder, link := filepath.Join(s.dir, version), filepath.Join(s.dir, "..data")
	must(s.t, os.Mkdir(folder, 0o700))
	must(s.t, os.Rename(s.config(), filepath.Join(folder, "authz.yaml")))
	// Paths in the file are relative to it.
	must(s.t, os.Link(filepath.Join(s.dir, "jwks.json"), filepath.Join(folder, "jwks.json")))
	must(s.t, os.Symlink(version, link+"_tmp"))
	must(s.t, os.Rename(link+"_tmp", link))
}

// TestAChangedPolicyIsInForceWithoutASignal, also when Kubernetes moves the link that the file is
// reached through. One that is broken changes nothing and is told of once.
func TestAChangedPolicyIsInForceWithoutASignal(t *testing.T) {
	s := newStage(t)
	s.mount("..1")
	must(t, os.Symlink("..data/authz.yaml", filepath.Join(s.dir, "mounted.yaml")))
	r := s.serve("--config", filepath.Join(s.dir, "mounted.yaml")).ready()
	tok := s.token("s-1")
	r.wants(200, "", "/protected", tok)
	s.configure("{match: {path: /protected}, require: {roles: [nobody]}}")
	s.mount("..2")
	eventually.True(t, "the new policy is in force",
		func() bool { _, reason, _ := r.ask("/protected", tok); return reason == "insufficient_role" })
	s.configure("{match: {path: protected}}")
	s.mount("..3")
	eventually.True(t, "the broken policy is told of",
		func() bool { return strings.Contains(r.log.String(), "does not begin with a slash") })
	r.wants(403, "insufficient_role", "/protected", tok)
	must(t, os.Remove(filepath.Join(s.dir, "..data")))
	eventually.True(t, "the missing policy is told of",
		func() bool { return strings.Contains(r.log.String(), "no such file") })
	r.wants(403, "insufficient_role", "/protected", tok)
	if n := strings.Count(r.log.String(), "does not begin with a slash"); n != 1 {
		t.Errorf("the broken policy is told of %d times", n)
	}
	if text := r.get("/metrics", 200); !strings.Contains(text,
		`sallyport_file_broken{setting="policy"} 1`) {
		t.Error("the metrics do not show that the policy's file is broken")
	}
	r.stopped()
}

// TestAReloadSaysWhetherThePolicyHasChanged, by the digest that sha256sum shows of the file.
func TestAReloadSaysWhetherThePolicyHasChanged(t *testing.T) {
	s := newStage(t)
	digest := func() string {
		content, err := os.ReadFile(s.config())
		must(t, err)
		sum := sha256.Sum256(content)
		return hex.EncodeToString(sum[:6])
	}
	r := s.serve().ready()
	first := digest()
	must(t, syscall.Kill(os.Getpid(), syscall.SIGHUP))
	eventually.True(t, "the reload says that nothing has changed", func() bool {
		return strings.Contains(r.log.String(), "reloaded: nothing has changed") &&
			strings.Contains(r.log.String(), first)
	})
	if text := r.get("/readyz", 200); !strings.Contains(text, `"policy":"`+first+`"`) {
		t.Errorf("/readyz shows no digest %s: %s", first, text)
	}
	s.configure("{match: {path: /elsewhere}}")
	must(t, syscall.Kill(os.Getpid(), syscall.SIGHUP))
	eventually.True(t, "another policy is in force",
		func() bool { _, reason, _ := r.ask("/protected", s.token("s-1")); return reason == "no_route" })
	if text := r.get("/readyz", 200); !strings.Contains(text, `"policy":"`+digest()+`"`) {
		t.Errorf("/readyz shows another digest than %s: %s", digest(), text)
	}
	r.stopped()
}

// TestCheckFindsWhatServeWouldFindInFiles, and what would keep the gate from ever being ready. It
// makes and removes nothing.
func TestCheckFindsWhatServeWouldFindInFiles(t *testing.T) {
	dir := t.TempDir()
	at := func(name string) string { return filepath.Join(dir, name) }
	write := func(name, content string, mode os.FileMode) {
		t.Helper()
		must(t, errors.Join(os.WriteFile(at(name), []byte(content), mode), os.Chmod(at(name), mode)))
	}
	a := redistest.NewAuthority(t)
	cert, _ := a.Pair()
	_, otherKey := a.Pair()
	write("client.crt", string(cert), 0o600)
	write("other.key", string(otherKey), 0o600)
	write("short", "too short a secret", 0o600)
	sum := sha256.Sum256([]byte("a test's own secret"))
	write("public", hex.EncodeToString(sum[:]), 0o644)
	write("good", hex.EncodeToString(sum[:])+"\n", 0o600)
	write("empty", "", 0o600)
	write("none.json", `{"keys":[]}`, 0o600)
	must(t, errors.Join(os.Mkdir(at("open"), 0o777), os.Chmod(at("open"), 0o777)))
	must(t, os.Mkdir(at("snapshots"), 0o700))
	write("snapshots/.snapshot.tmp-1", "being written", 0o600)
	const secret = `issuers: [{issuer: "https://a.example", audiences: [x], algorithms: [HS256], secret_file: `
	const url = `issuers: [{issuer: "https://a.example", audiences: [x], jwks_url: "https://a.example/jwks"`
	for name, row := range map[string]struct{ yaml, want string }{
		"a secret that is too short":    {secret + "short}]", "short"},
		"a secret that everybody reads": {secret + "public}]", "mode 0644"},
		"a secret that is not there":    {secret + "nowhere}]", "nowhere"},
		"a key set that is not there": {
			`issuers: [{issuer: "https://a.example", audiences: [x], jwks_file: nowhere.json}]`,
			"nowhere.json",
		},
		"a key set without keys": {
			`issuers: [{issuer: "https://a.example", audiences: [x], jwks_file: none.json}]`, "none.json",
		},
		"authorities of a key set that are not": {url + ", ca_file: short}]", "ca_file"},
		"a folder that others write to":         {url + "}]\nkey_cache_dir: open", "key_cache_dir"},
		"a folder that is a file":               {url + "}]\nkey_cache_dir: good", "key_cache_dir"},
		"a snapshot that others write to": {
			url + "}]\nrevocation: {snapshot: {file: open/snapshot}}", "snapshot",
		},
		"a certificate and another one's key": {
			url + "}]\nredis: {tls: {enabled: true, cert_file: client.crt, key_file: other.key}}",
			"redis.tls.cert_file",
		},
		"authorities of Redis that are not": {
			url + "}]\nredis: {tls: {enabled: true, ca_file: empty}}", "redis.tls.ca_file",
		},
		"an empty password": {
			url + "}]\nredis: {password_file: empty}", "password_file",
		},
		"an address without a port":           {url + "}]\nlisten: localhost", "listen"},
		"an address with a port that is none": {url + "}]\nlisten: 127.0.0.1:grpc", "listen"},
		"a socket in no folder": {
			url + "}]\nlisten: unix:" + at("nowhere/gate.sock"), "nowhere",
		},
		"a socket with a long name": {url + "}]\nlisten: unix:/" + strings.Repeat("x", 120), "listen"},
		"a good one": {
			secret + "good}]\nkey_cache_dir: cache\nrevocation: {snapshot: {file: snapshots/snapshot}}", "",
		},
	} {
		t.Run(name, func(t *testing.T) {
			write("authz.yaml", row.yaml+"\npolicy: {routes: [{match: {path: /a}}]}\n", 0o600)
			_, err := runCommand(t, "check", "--config", at("authz.yaml"))
			if row.want == "" && err != nil ||
				row.want != "" && (err == nil || !strings.Contains(err.Error(), row.want)) {
				t.Errorf("expected %q in: %v", row.want, err)
			}
		})
	}
	if _, err := os.Stat(at("cache")); err == nil {
		t.Error("check has made the folder of key sets")
	}
	if _, err := os.Stat(at("snapshots/.snapshot.tmp-1")); err != nil {
		t.Errorf("check has removed what a gate is writing: %v", err)
	}
}
