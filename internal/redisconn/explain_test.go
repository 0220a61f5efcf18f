package redisconn_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/sallyport/sallyport/internal/config"
	"github.com/sallyport/sallyport/internal/redisconn"
	"github.com/sallyport/sallyport/internal/redisconn/redistest"
)

// refused wants an error of both kinds of connection that names all of wants, and says that a
// setting is to be changed.
func refused(t *testing.T, c *redisconn.Client, wants ...string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	pooled := c.Universal().Ping(ctx).Err()
	conn, err := c.Dedicated(ctx, "{sallyport}:rev:log")
	if err == nil {
		err = conn.Ping(ctx).Err()
		_ = conn.Close()
	}
	for _, got := range []error{c.Explain(pooled), c.Explain(err)} {
		var setting *redisconn.SettingError
		if !errors.As(got, &setting) {
			t.Errorf("expected an error about a setting, got %v", got)
			continue
		}
		for _, want := range wants {
			if !strings.Contains(got.Error(), want) {
				t.Errorf("expected %q in %q", want, got)
			}
		}
	}
}

func TestTLSAgainstAPlainPortSaysSo(t *testing.T) {
	t.Parallel()
	s := redistest.NewServer(t)
	s.StartPlain()
	cfg := newTLSFiles(t).config(s)
	cfg.DialTimeout = 10 * time.Second // a busy machine needs longer to ask the second time
	refused(t, open(t, cfg), s.Address(), "answers without TLS",
		"redis.tls.enabled")
}

func TestPlainAgainstATLSPortSaysSo(t *testing.T) {
	t.Parallel()
	f := newTLSFiles(t)
	s := redistest.NewServer(t)
	s.StartTLS(f.cert, f.key, f.serverCA)
	cfg := f.config(s)
	cfg.TLS = redisconn.TLSConfig{}
	cfg.DialTimeout = 10 * time.Second // a busy machine needs longer to ask the second time
	refused(t, open(t, cfg), s.Address(), "wants TLS", "redis.tls.enabled: true")
}

func TestAnUntrustedCertificateNamesAddressAndSettings(t *testing.T) {
	t.Parallel()
	f, other := newTLSFiles(t), newTLSFiles(t)
	s := redistest.NewServer(t)
	s.StartTLS(f.cert, f.key, f.serverCA)
	cfg := f.config(s)
	cfg.TLS.CAFile = config.Path(other.ca)
	refused(t, open(t, cfg), s.Address(), "redis.tls.ca_file", "unknown authority")
	cfg = f.config(s)
	cfg.TLS.ServerName = "another"
	refused(t, open(t, cfg), s.Address(), "redis.tls.server_name", "not another")
}

// TestSilenceNamesTheAddress: of a server that takes connections and says nothing, as one that is
// cut off or stopped.
func TestSilenceNamesTheAddress(t *testing.T) {
	t.Parallel()
	silent, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	cfg := redisconn.DefaultConfig()
	cfg.Address = silent.Addr().String()
	c := open(t, cfg)
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	conn, err := c.Dedicated(ctx, "{sallyport}:rev:log")
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	err = c.Explain(fmt.Errorf("heartbeat: %w", conn.Ping(ctx).Err()))
	if err == nil || !strings.Contains(err.Error(), cfg.Address) ||
		!strings.Contains(err.Error(), "heartbeat") {
		t.Errorf("expected the address and what was to be done in %v", err)
	}
	if strings.Count(c.Explain(err).Error(), cfg.Address) != 1 {
		t.Errorf("the address stands there more than once: %v", c.Explain(err))
	}
}

func TestAWrongPasswordNamesAddressUserAndSetting(t *testing.T) {
	t.Parallel()
	s := redistest.NewServer(t)
	s.StartPlain("--user", "default", "off", "--user", "sally", "on", ">right-password", "~*", "+@all")
	file := filepath.Join(t.TempDir(), "password")
	redistest.Write(t, file, []byte("wrong-password\n"))
	cfg := redisconn.DefaultConfig()
	cfg.Address, cfg.Username, cfg.Password = s.Address(), "sally", fromFile(t, file)
	c := open(t, cfg)
	refused(
		t,
		c,
		s.Address(),
		`"sally"`,
		"redis.username",
		"redis.password_file ("+file+")",
		"WRONGPASS",
	)
	if err := c.Explain(ping(t, c)); strings.Contains(err.Error(), "wrong-password") {
		t.Error("the password is in the error")
	}
	cfg.Username, cfg.Password = "", config.Secret{}
	refused(t, open(t, cfg), s.Address(), "redis.password_file", "NOAUTH")
}

func TestAWrongSentinelPasswordNamesAddressUserAndSetting(t *testing.T) {
	t.Parallel()
	s := redistest.NewServer(t)
	s.StartSentinel("requirepass right-password\nsentinel monitor main 127.0.0.1 1 1\n")
	cfg := redisconn.DefaultConfig()
	cfg.Mode, cfg.Address, cfg.Addresses, cfg.MasterName = redisconn.ModeSentinel, "", []string{
		s.Address(),
	}, "main"
	cfg.SentinelPassword = config.NewSecret("wrong-password")
	refused(
		t,
		open(t, cfg),
		s.Address(),
		"the sentinel",
		`"default"`,
		"redis.sentinel_password",
		"redis.sentinel_username",
	)
}
