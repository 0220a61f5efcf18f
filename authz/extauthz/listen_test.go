package extauthz

import (
	"context"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
	"time"

	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/sallyport/sallyport/authz/authztest"
	"github.com/sallyport/sallyport/authz/check"
	"github.com/sallyport/sallyport/internal/eventually"
	"github.com/sallyport/sallyport/internal/jose/josetest"
	"github.com/sallyport/sallyport/internal/listen"
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
