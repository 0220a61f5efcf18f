package redisconn

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
	"time"

	"github.com/sallyport/sallyport/internal/config"
	"github.com/sallyport/sallyport/internal/livefile"
)

// dialer makes each connection with what the files hold at that moment, so that nothing has to be
// restarted when a certificate or a password is renewed.
type dialer struct {
	cfg              Config
	password         *livefile.File[config.Secret]
	sentinelPassword *livefile.File[config.Secret]
	roots            *livefile.File[*x509.CertPool]   // nil: the system's
	pair             *livefile.File[*tls.Certificate] // nil: none is shown
}

func newDialer(cfg Config, files *livefile.Files) (d *dialer, err error) {
	d = &dialer{cfg: cfg}
	if d.password, err = cfg.Password.Live(files, "redis.password", nil); err != nil {
		return nil, fmt.Errorf("redisconn: %w", err)
	}
	if d.sentinelPassword, err = cfg.SentinelPassword.Live(files, "redis.sentinel_password",
		nil); err != nil {
		return nil, fmt.Errorf("redisconn: %w", err)
	}
	if cfg.TLS.Enabled && cfg.TLS.CAFile != "" {
		if d.roots, err = livefile.OpenRoots(files, "redis.tls.ca_file",
			string(cfg.TLS.CAFile)); err != nil {
			return nil, fmt.Errorf("redisconn: %w", err)
		}
	}
	if cfg.TLS.Enabled && cfg.TLS.CertFile != "" {
		if d.pair, err = livefile.OpenPair(files, "redis.tls.cert_file", string(cfg.TLS.CertFile),
			string(cfg.TLS.KeyFile)); err != nil {
			return nil, fmt.Errorf("redisconn: %w", err)
		}
	}
	return d, nil
}

// credentials are those of data nodes.
func (d *dialer) credentials(context.Context) (user, password string, err error) {
	return d.cfg.Username, d.password.Value().Reveal(), nil
}

// dataNode stands for the network tcp where a sentinel's client dials a data node.
const dataNode = "tcp data node"

// dialAny dials data nodes, and sentinels, to which it also says who we are.
func (d *dialer) dialAny(ctx context.Context, network, addr string) (net.Conn, error) {
	if network == dataNode {
		return d.dialNode(ctx, "tcp", addr)
	}
	ctx, cancel := context.WithTimeout(ctx, d.cfg.DialTimeout)
	defer cancel()
	conn, err := d.dial(ctx, network, addr)
	if err != nil {
		return nil, err
	}
	if err := d.authenticate(ctx, conn); err != nil {
		_ = conn.Close() // it is of no use
		return nil, d.explainAt(addr, sentinelSide, err)
	}
	return conn, nil
}

func (d *dialer) dialNode(ctx context.Context, network, addr string) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, d.cfg.DialTimeout)
	defer cancel()
	return d.dial(ctx, network, addr)
}

// keepAlive is what go-redis uses itself: a peer that is gone is noticed within 45 seconds.
var keepAlive = net.KeepAliveConfig{
	Enable: true, Idle: 30 * time.Second, Interval: 5 * time.Second, Count: 3,
}

func (d *dialer) dial(ctx context.Context, network, addr string) (net.Conn, error) {
	conn, err := (&net.Dialer{KeepAliveConfig: keepAlive}).DialContext(ctx, network, addr)
	if err != nil {
		return nil, err
	}
	if !d.cfg.TLS.Enabled {
		if tcp, ok := conn.(*net.TCPConn); ok {
			return &suspicious{TCPConn: tcp, d: d, addr: addr}, nil
		}
		return conn, nil
	}
	secured := tls.Client(conn, d.tlsConfig(addr))
	if err := d.handshake(ctx, secured, network, addr); err != nil {
		_ = conn.Close() // it is of no use
		return nil, err
	}
	return secured, nil
}

// tlsConfig returns the settings of the next connection. They keep no TLS sessions: one that is
// resumed would skip the check against authorities that have been replaced.
func (d *dialer) tlsConfig(addr string) *tls.Config {
	t := &tls.Config{MinVersion: tls.VersionTLS12, ServerName: d.cfg.TLS.ServerName}
	if t.ServerName == "" {
		t.ServerName = addr
		if host, _, err := net.SplitHostPort(addr); err == nil {
			t.ServerName = host
		}
	}
	if d.roots != nil {
		t.RootCAs = d.roots.Value()
	}
	if d.pair != nil {
		t.Certificates = []tls.Certificate{*d.pair.Value()}
	}
	return t
}

// authenticate sends AUTH to a sentinel, before its client gets the connection.
func (d *dialer) authenticate(ctx context.Context, conn net.Conn) error {
	password := d.sentinelPassword.Value().Reveal()
	if password == "" {
		return nil
	}
	words := []string{"AUTH", password}
	if d.cfg.SentinelUsername != "" {
		words = []string{"AUTH", d.cfg.SentinelUsername, password}
	}
	// In the protocol's own form, since there is no client on this connection yet.
	var b strings.Builder
	fmt.Fprintf(&b, "*%d\r\n", len(words))
	for _, w := range words {
		b.WriteString("$" + strconv.Itoa(len(w)) + "\r\n" + w + "\r\n")
	}
	if deadline, ok := ctx.Deadline(); ok {
		if err := conn.SetDeadline(deadline); err != nil {
			return err
		}
	}
	if _, err := conn.Write([]byte(b.String())); err != nil {
		return err
	}
	answer, err := bufio.NewReaderSize(conn, maxAnswer).ReadSlice('\n')
	if err != nil {
		return err
	}
	if text := strings.TrimRight(string(answer), "\r\n"); text != "+OK" {
		return errors.New(strings.TrimPrefix(text, "-"))
	}
	return conn.SetDeadline(time.Time{})
}

// maxAnswer is the most bytes of an answer to AUTH: the longest of Redis' own has some 80.
const maxAnswer = 512
