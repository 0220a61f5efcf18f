package issuer

import (
	"strings"
	"testing"
	"time"

	"github.com/sallyport/sallyport/internal/sender"
)

// TestASendersSessionsLiveAsLongAsItsEntrySays, the longest where several end the same ones, and
// whoever says it twice is told.
func TestASendersSessionsLiveAsLongAsItsEntrySays(t *testing.T) {
	const elsewhere = "https://elsewhere.example"
	c := DefaultConfig()
	if got := c.SessionLifetime(elsewhere); got != c.Revocation.MaxSessionLifetime {
		t.Errorf("without an entry: got %s", got)
	}
	c.Senders = []sender.Config{
		{Issuer: elsewhere, MaxSessionLifetime: 10 * time.Hour},
		{Issuer: "https://logout.example", SessionsOf: elsewhere, MaxSessionLifetime: 20 * time.Hour},
		{Issuer: "https://another.example", MaxSessionLifetime: 30 * time.Hour},
	}
	if got := c.SessionLifetime(elsewhere); got != 20*time.Hour {
		t.Errorf("by its senders: got %s, want 20h", got)
	}
	c.OtherIssuers = []OtherIssuer{{Issuer: elsewhere, MaxSessionLifetime: time.Hour}}
	err := c.checkOtherIssuers()
	if err == nil || !strings.Contains(err.Error(), "senders[0] says it too") {
		t.Errorf("said in both lists: got %v", err)
	}
	if got := c.SessionLifetime("https://issuer.example"); got != c.Revocation.MaxSessionLifetime {
		t.Errorf("of an issuer that nobody names: got %s", got)
	}
}

// TestWhoHasNotSaidHowLongSessionsLiveIsTold, of each sender, and nobody else is.
func TestWhoHasNotSaidHowLongSessionsLiveIsTold(t *testing.T) {
	r := newReceivingOnMiniredis(t, func(c *Config) { c.Senders[0].MaxSessionLifetime = 10 * time.Hour })
	told := r.logged.String()
	if strings.Count(told, "write max_session_lifetime") != 1 ||
		!strings.Contains(told, r.cfg.Senders[1].Issuer) || !strings.Contains(told, "720h") {
		t.Errorf("expected one line, of %s, got\n%s", r.cfg.Senders[1].Issuer, told)
	}
}
