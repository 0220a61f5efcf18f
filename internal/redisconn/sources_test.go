package redisconn_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/sallyport/sallyport/internal/redisconn"
)

// TestAddressesOfFormerPrimariesAreForgotten: primaries come and go under new addresses for as
// long as a process runs. A connection that is open stays so, however long ago it was made.
func TestAddressesOfFormerPrimariesAreForgotten(t *testing.T) {
	t.Parallel()
	port := freePort(t)
	server(t, port, "--port", fmt.Sprint(port), "--save", "")
	cfg := redisconn.DefaultConfig()
	cfg.Address = fmt.Sprintf("127.0.0.1:%d", port)
	c, err := redisconn.Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close() }()
	inUse, err := c.Dedicated(t.Context(), "key")
	if err != nil {
		t.Fatal(err)
	}
	if err := inUse.Ping(t.Context()).Err(); err != nil {
		t.Fatal(err)
	}
	for n := range 1000 {
		conn, err := c.DedicateTo(fmt.Sprintf("127.0.%d.%d:1", 1+n/250, 1+n%250))
		if err != nil {
			t.Fatal(err)
		}
		_ = conn.Close()
		c.Age(2 * time.Minute)
	}
	if n := c.Sources(); n > 20 {
		t.Errorf("%d addresses are kept", n)
	}
	if err := inUse.Ping(t.Context()).Err(); err != nil {
		t.Errorf("the connection in use: %v", err)
	}
}
