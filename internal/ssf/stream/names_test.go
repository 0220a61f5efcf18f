package stream

import (
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"

	"github.com/sallyport/sallyport/internal/redisconn"
)

// TestTwoInstallationsOnOneRedisHoldTheirOwnLease: each keeps its own stream at the same sender.
func TestTwoInstallationsOnOneRedisHoldTheirOwnLease(t *testing.T) {
	c := redisconn.DefaultConfig()
	c.Address = miniredis.RunT(t).Addr()
	client, err := redisconn.Open(c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = client.Close() })
	for _, prefix := range []string{"{sallyport}", "{another}"} {
		held, err := NewLease(client, prefix, "https://sso.example").Hold(t.Context(), time.Minute)
		if !held || err != nil {
			t.Errorf("%s: got %v, %v", prefix, held, err)
		}
	}
}

// TestASlashAtTheEndOfAnIssuerIsNotDoubled (RFC 8414 section 3).
func TestASlashAtTheEndOfAnIssuerIsNotDoubled(t *testing.T) {
	for issuer, want := range map[string]string{
		"https://id.example":      "https://id.example/.well-known/openid-configuration",
		"https://id.example/":     "https://id.example/.well-known/openid-configuration",
		"https://id.example/one/": "https://id.example/one/.well-known/openid-configuration",
	} {
		if got := below(issuer, "openid-configuration"); got != want {
			t.Errorf("%s: got %s, want %s", issuer, got, want)
		}
	}
}
