package redisconn

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/sallyport/sallyport/internal/daemon"
)

// SettingError is an error that lasts until somebody changes a setting, here or in Redis: it names
// the address, the user and the setting. It wraps nothing: of an error that a connection's greeting
// meets go-redis returns only what it wraps.
type SettingError struct{ text string }

// Error returns what is wrong and which setting to look at.
func (e *SettingError) Error() string { return e.text }

func settingError(format string, args ...any) error {
	return &SettingError{fmt.Sprintf("redisconn: "+format, args...)}
}

// Explain returns a SettingError for an error of a command which says that Redis refuses the user
// or password, or the one that is wrapped in the error already. To an error that means that nobody
// has answered it adds the address. It returns any other error as it is.
func (c *Client) Explain(err error) error {
	return c.dialer.explainAt(c.where(), dataSide, err)
}

// where returns the addresses in the configuration.
func (c *Client) where() string {
	if c.cfg.Mode == ModeSingle {
		return c.cfg.Address
	}
	return strings.Join(c.cfg.Addresses, ", ")
}

// side names the settings about one kind of server.
type side struct{ what, user, password string }

var (
	dataSide     = side{"Redis", "redis.username", "redis.password"}
	sentinelSide = side{"the sentinel", "redis.sentinel_username", "redis.sentinel_password"}
)

func (d *dialer) explainAt(addr string, s side, err error) error {
	var explained *SettingError
	switch {
	case err == nil:
		return nil
	case errors.As(err, &explained):
		return explained
	}
	if !strings.Contains(err.Error(), addr) {
		if late := (net.Error)(nil); errors.As(err, &late) && late.Timeout() {
			return fmt.Errorf("%s at %s does not answer: %w", s.what, addr, err)
		}
		if errors.Is(err, io.EOF) {
			return fmt.Errorf("%s at %s has closed the connection: %w", s.what, addr, err)
		}
	}
	if s == sentinelSide {
		return d.explain(addr, s, d.cfg.SentinelUsername, d.cfg.SentinelPassword.File(), err)
	}
	return d.explain(addr, s, d.cfg.Username, d.cfg.Password.File(), err)
}

func (d *dialer) explain(addr string, s side, user, file string, err error) error {
	if user == "" {
		user = "default"
	}
	setting := s.password
	if file != "" {
		setting += "_file (" + file + ")"
	}
	switch text := err.Error(); {
	case strings.Contains(text, "WRONGPASS"), strings.Contains(text, "invalid password"):
		return settingError(
			"%s at %s refuses the user %q: %s or %s is wrong, or the user is disabled there: WRONGPASS",
			s.what, addr, user, setting, s.user)
	case strings.Contains(text, "NOAUTH"):
		return settingError(
			"%s at %s wants to know who asks: set %s, and %s for an ACL user: NOAUTH", s.what,
			addr, s.password+"_file", s.user)
	case strings.Contains(text, "without any password configured"):
		return settingError(
			"%s at %s knows no password for the user %q: leave %s out, or set one there", s.what,
			addr, user, setting)
	case strings.Contains(text, "NOPERM"):
		return settingError("%s at %s does not let the user %q (%s) do this; see its ACL: %s",
			s.what, addr, user, s.user, text)
	}
	return err
}

// probe is after how long a handshake that goes on makes us ask whether the server wants one at all.
const probe = 250 * time.Millisecond

// handshake makes a TLS handshake. A server without TLS may wait for the rest of what it takes for
// a command, and never answer: when the handshake takes long, the server is asked on another
// connection whether it speaks plain Redis.
func (d *dialer) handshake(ctx context.Context, conn *tls.Conn, network, addr string) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var probing sync.WaitGroup
	done := make(chan struct{})
	probing.Go(func() {
		select {
		case <-done:
			return
		case <-ctx.Done():
			return
		case <-time.After(probe):
		}
		// All that it finds out is a hint for the operator.
		_ = daemon.Guard(func() error {
			if speaksPlain(ctx, network, addr) {
				cancel(errPlain)
			}
			return nil
		})
	})
	err := conn.HandshakeContext(ctx)
	close(done)
	if err == nil {
		return nil
	}
	plain := errors.Is(context.Cause(ctx), errPlain)
	cancel(nil)
	probing.Wait()
	var header tls.RecordHeaderError
	if plain || errors.As(err, &header) {
		return settingError(
			"%s answers without TLS: set redis.tls.enabled: false, or give the address of its TLS port",
			addr)
	}
	if wrong := (*tls.CertificateVerificationError)(nil); errors.As(err, &wrong) {
		return settingError(
			"TLS with %s: its certificate is not trusted (redis.tls.ca_file, redis.tls.server_name): %v",
			addr, wrong.Err)
	}
	return fmt.Errorf("redisconn: TLS with %s: %w", addr, err)
}

var errPlain = errors.New("the server speaks plain Redis")

// speaksPlain reports whether a server answers a PING that is not encrypted, within what is left of
// the time for the handshake. Nothing secret is sent.
func speaksPlain(ctx context.Context, network, addr string) bool {
	conn, err := (&net.Dialer{}).DialContext(ctx, network, addr)
	if err != nil {
		return false
	}
	defer conn.Close()
	// It cannot panic: a connection that was dialled takes a deadline at any time.
	stop := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	first := make([]byte, 1)
	if _, err := conn.Write([]byte("PING\r\n")); err != nil {
		return false
	}
	_, err = io.ReadFull(conn, first)
	return err == nil && (first[0] == '+' || first[0] == '-')
}

// suspicious is a connection without TLS whose first answer tells whether the server wants TLS.
type suspicious struct {
	*net.TCPConn
	d        *dialer
	addr     string
	answered bool
	verdict  error // set once it is known that the server wants TLS
}

// The types of the records that a server's side of TLS can begin with (RFC 8446 section 5.1).
const (
	recordAlert     = 21
	recordHandshake = 22
)

// Read reads, and looks at the first answer.
func (s *suspicious) Read(b []byte) (int, error) {
	if s.verdict != nil { // go-redis goes on after an error that its greeting meets
		return 0, s.verdict
	}
	n, err := s.TCPConn.Read(b)
	if s.answered || len(b) == 0 {
		return n, err
	}
	s.answered = true
	alert := n > 0 && (b[0] == recordAlert || b[0] == recordHandshake)
	cut := n == 0 && (errors.Is(err, io.EOF) || errors.Is(err, syscall.ECONNRESET))
	if alert || cut && s.d.speaksTLS(s.addr) {
		s.verdict = settingError("%s wants TLS: set redis.tls.enabled: true", s.addr)
		return 0, s.verdict
	}
	return n, err
}

// speaksTLS reports whether a server answers the beginning of a TLS handshake, whatever it thinks
// of us or we of it.
func (d *dialer) speaksTLS(addr string) bool {
	// A handshake takes computing at both ends, which a busy machine has no time for at once;
	// nothing else waits for this one.
	ctx, cancel := context.WithTimeout(context.Background(), 2*d.cfg.DialTimeout)
	defer cancel()
	conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", addr)
	if err != nil {
		return false
	}
	defer conn.Close()
	err = tls.Client(conn, d.tlsConfig(addr)).HandshakeContext(ctx)
	var untrusted *tls.CertificateVerificationError
	var alert *net.OpError
	return err == nil || errors.As(err, &untrusted) ||
		errors.As(err, &alert) && alert.Op == "remote error"
}
