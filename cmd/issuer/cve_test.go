package main

import (
	"strings"
	"testing"

	"github.com/sallyport/sallyport/internal/eventually"
	"github.com/sallyport/sallyport/internal/session/sessiontest"
)

// TestCVE holds published vulnerabilities of systems like this one against whole issuers on a real
// Redis.
func TestCVE(t *testing.T) {
	for id, test := range map[string]func(*testing.T){
		// a restart reset what reuse was noticed by
		"CVE-2026-9802": reuseAfterEverythingHasRestarted,
		// refresh ignored disabled accounts and groups
		"CVE-2026-43983": TestIssuersNoticeWhatAUserHasLost,
		// refresh tokens survived a password reset
		"GHSA-x4vh-j75g-268g": TestIssuersNoticeWhatAUserHasLost,
	} {
		t.Run(id, test)
	}
}

// reuseAfterEverythingHasRestarted: a token is spent, issuer and Redis restart, and the spent one
// comes back after the grace window.
func reuseAfterEverythingHasRestarted(t *testing.T) {
	f := newFolder(t)
	f.redis, f.grace = sessiontest.RealRedis(t, "--enable-debug-command", "yes"), "1s"
	one := f.start("one")
	first := one.login()
	second := want(t, one.refresh(first.str("refresh_token")), 200)
	one.end()
	client := sessiontest.Open(t, f.redis).Universal()
	before := client.InfoMap(t.Context(), "server").Item("Server", "run_id")
	_ = client.Do(t.Context(), "DEBUG", "RESTART").Err() // the connection breaks off
	eventually.True(t, "Redis to be another one with the old one's disk", func() bool {
		now := client.InfoMap(t.Context(), "server").Item("Server", "run_id")
		return now != "" && now != before && client.Exists(t.Context(), "{sallyport}:rev:head").Val() == 1
	})
	again := f.start("one")
	eventually.True(t, "the grace window to end",
		func() bool { return again.refresh(first.str("refresh_token")).status != 200 })
	want(t, again.refresh(first.str("refresh_token")), 401)
	want(t, again.refresh(second.str("refresh_token")), 401)
	if !strings.Contains(again.stdout.String(), `"event":"reuse"`) {
		t.Errorf("the audit log does not tell: %s", again.stdout)
	}
	if list := want(t, get(t, again.admin+"/admin/revocations?kind=sid", adminToken), 200); len(
		list.json["entries"].([]any)) == 0 {
		t.Error("the session's access tokens are not revoked")
	}
}
