package redisconn_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/sallyport/sallyport/internal/config"
	"github.com/sallyport/sallyport/internal/eventually"
	"github.com/sallyport/sallyport/internal/redisconn"
	"github.com/sallyport/sallyport/internal/redisconn/redistest"
)

// fromFile reads a configuration's password from a file, as a daemon's would be.
func fromFile(t *testing.T, path string) config.Secret {
	t.Helper()
	var c struct {
		Password config.Secret `yaml:"password"`
	}
	file := filepath.Join(t.TempDir(), "c.yaml")
	redistest.Write(t, file, fmt.Appendf(nil, "password_file: %s\n", path))
	if err := config.Load(&c, config.Options{File: file}); err != nil {
		t.Fatal(err)
	}
	return c.Password
}

// tlsFiles are those of a server and of its clients, in one folder.
type tlsFiles struct{ serverCA, cert, key, ca, clientCert, clientKey string }

func (f tlsFiles) renew(t *testing.T, a *redistest.Authority) {
	t.Helper()
	cert, key := a.Pair()
	clientCert, clientKey := a.Pair()
	for path, content := range map[string][]byte{
		f.serverCA: a.PEM(), f.ca: a.PEM(), f.cert: cert, f.key: key,
		f.clientCert: clientCert, f.clientKey: clientKey,
	} {
		redistest.Write(t, path, content)
	}
}

func newTLSFiles(t *testing.T) tlsFiles {
	dir := t.TempDir()
	at := func(name string) string { return filepath.Join(dir, name) }
	f := tlsFiles{
		at("server-ca.pem"),
		at("server.crt"),
		at("server.key"),
		at("ca.pem"),
		at("client.crt"),
		at("client.key"),
	}
	f.renew(t, redistest.NewAuthority(t))
	return f
}

func (f tlsFiles) config(s *redistest.Server) redisconn.Config {
	cfg := redisconn.DefaultConfig()
	cfg.Address = s.Address()
	cfg.TLS = redisconn.TLSConfig{
		Enabled: true, CAFile: config.Path(f.ca), CertFile: config.Path(f.clientCert),
		KeyFile: config.Path(f.clientKey),
	}
	return cfg
}

// TestReplacedAuthorityAndCertificatesServeTheNextConnection: one client, whose connections break
// as its Redis starts again on new files.
func TestReplacedAuthorityAndCertificatesServeTheNextConnection(t *testing.T) {
	t.Parallel()
	f := newTLSFiles(t)
	s := redistest.NewServer(t)
	s.StartTLS(f.cert, f.key, f.serverCA)
	c := open(t, f.config(s))
	eventually.True(t, "the old pair serves", func() bool { return ping(t, c) == nil })
	s.Stop()
	f.renew(t, redistest.NewAuthority(t))
	s.StartTLS(f.cert, f.key, f.serverCA)
	eventually.True(t, "the new pair serves", func() bool { return ping(t, c) == nil })

	// Broken files keep what was read before in force.
	for _, broken := range []string{"", "-----BEGIN CERTIFICATE-----\nMII", "garbage"} {
		for _, name := range []string{f.ca, f.clientCert, f.clientKey} {
			redistest.Write(t, name, []byte(broken))
		}
		if err := ping(t, c); err != nil {
			t.Errorf("files that hold %q were put in force: %v", broken, err)
		}
	}
	for _, name := range []string{f.ca, f.clientCert, f.clientKey} {
		if err := os.Remove(name); err != nil {
			t.Fatal(err)
		}
	}
	if err := ping(t, c); err != nil {
		t.Errorf("files that are gone were put in force: %v", err)
	}
}

// TestAReplacedPasswordServesTheNextConnection, also through the symbolic links that Kubernetes
// makes for a Secret.
func TestAReplacedPasswordServesTheNextConnection(t *testing.T) {
	t.Parallel()
	s := redistest.NewServer(t)
	s.StartPlain("--user", "default", "off", "~*", "&*", "+@all", "--user", "sally", "on",
		">first-password", "~*", "+@all")
	dir := t.TempDir()
	secret := func(version, password string) {
		t.Helper()
		if err := os.Mkdir(filepath.Join(dir, version), 0o700); err != nil {
			t.Fatal(err)
		}
		redistest.Write(t, filepath.Join(dir, version, "password"), []byte(password+"\n"))
		if err := os.Symlink(version, filepath.Join(dir, "..data_tmp")); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(filepath.Join(dir, "..data_tmp"), filepath.Join(dir, "..data")); err != nil {
			t.Fatal(err)
		}
	}
	secret("..1", "first-password")
	if err := os.Symlink("..data/password", filepath.Join(dir, "password")); err != nil {
		t.Fatal(err)
	}
	cfg := redisconn.DefaultConfig()
	cfg.Address, cfg.Username, cfg.Password = s.Address(), "sally", fromFile(t,
		filepath.Join(dir, "password"))
	c := open(t, cfg)
	if err := ping(t, c); err != nil {
		t.Fatal(err)
	}
	if err := c.Universal().
		Do(t.Context(), "ACL", "SETUSER", "sally", "resetpass", ">second-password").
		Err(); err != nil {
		t.Fatal(err)
	}
	secret("..2", "second-password")
	if err := ping(t, c); err != nil { // its second half is a new connection
		t.Errorf("the new password is not used: %v", err)
	}
	for _, broken := range []string{"", "\n"} {
		redistest.Write(t, filepath.Join(dir, "..2", "password"), []byte(broken))
		if err := ping(t, c); err != nil {
			t.Errorf("a broken file (%q) replaced the password: %v", broken, err)
		}
	}
}

// TestAReplacedSentinelPasswordServesTheNextConnection: sentinel and primary have passwords of
// their own.
func TestAReplacedSentinelPasswordServesTheNextConnection(t *testing.T) {
	t.Parallel()
	primary, sentinel := redistest.NewServer(t), redistest.NewServer(t)
	primary.StartPlain("--requirepass", "primary-password")
	monitor := func(password string) string {
		return fmt.Sprintf(
			"requirepass %s\nsentinel monitor main 127.0.0.1 %d 1\n"+
				"sentinel auth-pass main primary-password\n",
			password, primary.Port)
	}
	sentinel.StartSentinel(monitor("first-password"))
	file := filepath.Join(t.TempDir(), "sentinel-password")
	redistest.Write(t, file, []byte("first-password\n"))
	cfg := redisconn.DefaultConfig()
	cfg.Mode, cfg.Address, cfg.Addresses, cfg.MasterName = redisconn.ModeSentinel, "", []string{
		sentinel.Address(),
	}, "main"
	cfg.Password, cfg.SentinelPassword = config.NewSecret("primary-password"), fromFile(t, file)
	c := open(t, cfg)
	eventually.True(t, "the primary takes writes", func() bool { return ping(t, c) == nil })
	sentinel.Stop()
	sentinel.StartSentinel(monitor("second-password"))
	redistest.Write(t, file, []byte("second-password\n"))
	if err := c.Universal().
		Do(t.Context(), "CLIENT", "KILL", "TYPE", "normal", "SKIPME", "no").
		Err(); err != nil &&
		!strings.Contains(err.Error(), "EOF") {
		t.Logf("cutting the connections: %v", err) // it cuts its own
	}
	eventually.True(t, "the primary is found with the sentinel's new password",
		func() bool { return ping(t, c) == nil })
}
