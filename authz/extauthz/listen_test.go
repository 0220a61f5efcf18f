package extauthz

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"

	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/sallyport/sallyport/authz/authztest"
	"github.com/sallyport/sallyport/authz/check"
	"github.com/sallyport/sallyport/authz/extauthz/door"
	"github.com/sallyport/sallyport/internal/config"
	"github.com/sallyport/sallyport/internal/daemon"
	"github.com/sallyport/sallyport/internal/eventually"
	"github.com/sallyport/sallyport/internal/jose/josetest"
	"github.com/sallyport/sallyport/internal/listen"
	"github.com/sallyport/sallyport/internal/redisconn/redistest"
)

func TestChecksOverAUnixSocket(t *testing.T) {
	path := filepath.Join(t.TempDir(), "gate.sock")
	b := start(t, authztest.New())
	c := DefaultConfig()
	c.SocketMode = "0600"
	l, err := listen.Open("unix:"+path, c.Config)
	if err != nil {
		t.Fatal(err)
	}
	info, err := os.Lstat(path)
	if err != nil || info.Mode().Perm() != 0o600 || info.Mode().Type() != fs.ModeSocket {
		t.Errorf("got mode %v, %v", info.Mode(), err)
	}
	second := &bench{world: b.world, conn: dial(t, "unix:"+path)}
	s, err := New(b.world.Engine(NewWire(c)), c,
		Options{
			Ready: func() error { return nil }, Check: check.Options{Instant: clock()},
		})
	if err != nil {
		t.Fatal(err)
	}
	run(t, s, l)
	authztest.Compare(t, authztest.Alice,
		second.ask(t, false)(authztest.Get("/protected", "authorization", "Bearer "+b.world.Token())))
}

// TestDrainFinishesWhatIsUnderWay has a check wait for a key while the server drains.
func TestDrainFinishesWhatIsUnderWay(t *testing.T) {
	b := start(t, authztest.New(), func(c *Config) { c.KeyWait = 300 * time.Millisecond })
	never := josetest.NewKey("ES256", "key-3")
	tok := never.Token(never.Header("at+jwt").JSON(), b.world.Setup().Claims.JSON())
	answers := make(chan authztest.Answer, 1)
	go func() {
		answers <- b.ask(t, false)(authztest.Get("/protected", "authorization", "Bearer "+tok))
	}()
	eventually.True(t, "the check is under way", func() bool { return b.world.Keys.Awaited() == 1 })
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	b.server.Drain(ctx)
	select {
	case got := <-answers:
		if got.Status != 401 {
			t.Errorf("got %d", got.Status)
		}
	case <-ctx.Done():
		t.Fatal("the check under way was not answered")
	}
	err := b.conn.Invoke(t.Context(), "/"+serviceName+"/Check", message(nil),
		&authv3.CheckResponse{}, asIsOption())
	if status.Code(err) != codes.Unavailable {
		t.Errorf("a drained server answers: %v", err)
	}
}

func TestDrainEndsWithItsContext(t *testing.T) {
	b := start(t, authztest.New(), func(c *Config) { c.KeyWait = 10 * time.Second })
	never := josetest.NewKey("ES256", "key-3")
	tok := never.Token(never.Header("at+jwt").JSON(), b.world.Setup().Claims.JSON())
	ended := make(chan error, 1)
	go func() {
		ended <- b.conn.Invoke(context.Background(), "/"+serviceName+"/Check",
			message(encoded(authztest.Get("/protected", "authorization", "Bearer "+tok),
				false)), &authv3.CheckResponse{}, asIsOption())
	}()
	eventually.True(t, "the check is under way", func() bool { return b.world.Keys.Awaited() == 1 })
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	b.server.Drain(ctx)
	if err := <-ended; err == nil {
		t.Error("the check was answered")
	}
}

// TestAServerThatIsDrainedBeforeItServesEndsWell: a process may be told to stop at once.
func TestAServerThatIsDrainedBeforeItServesEndsWell(t *testing.T) {
	w, c := authztest.New(), DefaultConfig()
	s, err := New(w.Engine(NewWire(c)), c,
		Options{Ready: func() error { return nil }, Check: check.Options{Instant: clock()}})
	if err != nil {
		t.Fatal(err)
	}
	l, err := listen.Open("127.0.0.1:0", c.Config)
	if err != nil {
		t.Fatal(err)
	}
	s.Drain(t.Context())
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx, l) }()
	eventually.True(t, "nobody listens", func() bool {
		conn, err := net.Dial("tcp", l.Addr().String())
		if err == nil {
			_ = conn.Close()
		}
		return err != nil
	})
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

// TestOnlyNamedClientsAreServedOverTLS: neither one that speaks no TLS, nor one without a
// certificate, nor one with another name.
func TestOnlyNamedClientsAreServedOverTLS(t *testing.T) {
	authority, dir := redistest.NewAuthority(t), t.TempDir()
	certificate, key := authority.Pair()
	files := listen.TLSConfig{
		CertFile: config.Path(dir + "/crt"), KeyFile: config.Path(dir + "/key"),
		ClientCAFile: config.Path(dir + "/ca"), ClientNames: []string{"envoy.example.com"},
	}
	redistest.Write(t, string(files.CertFile), certificate)
	redistest.Write(t, string(files.KeyFile), key)
	redistest.Write(t, string(files.ClientCAFile), authority.PEM())
	own, err := files.Open(nil, "ext_authz.tls", door.Protocol)
	if err != nil {
		t.Fatal(err)
	}
	w, c := authztest.New(), DefaultConfig()
	s, err := New(w.Engine(NewWire(c)), c, Options{
		Ready: func() error { return nil }, Check: check.Options{Instant: clock()}, TLS: own,
	})
	if err != nil {
		t.Fatal(err)
	}
	l, err := listen.Open("127.0.0.1:0", c.Config)
	if err != nil {
		t.Fatal(err)
	}
	run(t, s, l)
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(authority.PEM())
	by := func(names ...string) credentials.TransportCredentials {
		client := &tls.Config{RootCAs: roots, ServerName: "localhost"}
		if len(names) > 0 {
			pair, err := tls.X509KeyPair(authority.Pair(names...))
			if err != nil {
				t.Fatal(err)
			}
			client.Certificates = []tls.Certificate{pair}
		}
		return credentials.NewTLS(client)
	}
	for name, row := range map[string]struct {
		credentials credentials.TransportCredentials
		want        codes.Code
	}{
		"the stated name": {by("envoy.example.com"), codes.OK},
		"another name":    {by("other.example.com"), codes.Unavailable},
		"no certificate":  {by(), codes.Unavailable},
		"no TLS":          {insecure.NewCredentials(), codes.Unavailable},
	} {
		conn, err := grpc.NewClient(l.Addr().String(), grpc.WithTransportCredentials(row.credentials))
		if err != nil {
			t.Fatal(err)
		}
		err = conn.Invoke(t.Context(), "/"+serviceName+"/Check",
			message(encoded(authztest.Get("/public"), false)), &authv3.CheckResponse{}, asIsOption())
		if status.Code(err) != row.want {
			t.Errorf("%s: got %v", name, err)
		}
		if err := conn.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// panicking is a listener whose Accept panics.
type panicking struct{ net.Listener }

func (panicking) Accept() (net.Conn, error) { panic("a secret") }

// TestAPanicOfTheListenerIsAnErrorOfRun: it ends the door, and the process in good order.
func TestAPanicOfTheListenerIsAnErrorOfRun(t *testing.T) {
	b := start(t, authztest.New())
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	if err := b.server.Run(t.Context(), panicking{l}); !errors.Is(err, daemon.ErrPanic) {
		t.Errorf("got %v, want a panic", err)
	}
}
