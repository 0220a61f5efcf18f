//go:build issuers

package issuers_test

import (
	"fmt"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/sallyport/sallyport/internal/eventually"
	"github.com/sallyport/sallyport/internal/keyring"
	"github.com/sallyport/sallyport/internal/meshtest"
)

// sharesItsSignals: with the settings of examples/senders/keycloak.yaml alone a stream is made at
// Keycloak, pushed or polled, shows that it works, and is made again when it is gone; and what
// Keycloak tells over it comes into the revocation log, also what it tells while the issuer is
// down.
func (k *keycloak) sharesItsSignals(t *testing.T, p *probe) {
	for _, delivery := range []string{"push", "poll"} {
		p.run(t, delivery, func(t *testing.T) {
			s := k.shares(t, p, delivery)
			s.isTold(t)
			s.makesItAgain(t)
			s.isToldLate(t)
		})
	}
}

// sharing is an issuer without users that hears of Keycloak's logouts over a stream.
type sharing struct {
	*keycloak
	probe              *probe
	delivery, client   string
	dir, listen, admin string
	issuer             *server
}

const receiversToken = "0123456789abcdef0123456789abcdef"

func (k *keycloak) shares(t *testing.T, p *probe, delivery string) *sharing {
	t.Helper()
	address := func() string { return fmt.Sprintf("127.0.0.1:%d", freePort(t)) }
	s := &sharing{
		keycloak: k, probe: p, delivery: delivery, client: "sallyport-" + delivery,
		dir: t.TempDir(), listen: address(), admin: address(),
	}
	if _, err := (&keyring.Folder{Dir: filepath.Join(s.dir, "keys")}).Generate(t.Context(),
		"ES256"); err != nil {
		t.Fatal(err)
	}
	redis := freePort(t)
	for name, content := range map[string]string{
		"token": receiversToken, "issuer.yaml": s.settings(t, redis),
	} {
		if err := os.WriteFile(filepath.Join(s.dir, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if delivery == "push" {
		s.mayPush(t)
	}
	serve(t, "redis", nil, meshtest.RedisServer(t), "--port", fmt.Sprint(redis), "--save", "",
		"--appendonly", "yes", "--appendfsync", "always", "--dir", s.dir)
	s.start(t)
	return s
}

// pushLines are what the example's entry has for push, and poll has not.
var pushLines = regexp.MustCompile(`(?m)^    (endpoint_url|authorization_file): .*\n`)

// settings are the issuer's file.
func (s *sharing) settings(t *testing.T, redis int) string {
	t.Helper()
	entry := s.sender(t, s.client, "http://"+s.listen+"/security-events")
	if s.delivery == "poll" {
		entry = pushLines.ReplaceAllString(entry, "")
		entry = strings.Replace(entry, "delivery: push", "delivery: poll", 1)
	}
	return fmt.Sprintf(`issuer: https://receiver.example.com
listen: %s
admin: {listen: %s, token_file: token}
keys: {dir: keys}
redis: {address: 127.0.0.1:%d, checks: warn}
senders:
%s    check_every: 1s
    poll_every: 100ms
`, s.listen, s.admin, redis, entry)
}

func (s *sharing) start(t *testing.T) {
	t.Helper()
	s.issuer = serve(t, "issuer", nil, filepath.Join(meshtest.Binaries(t, false), "issuer"),
		"serve", "--config", filepath.Join(s.dir, "issuer.yaml"))
	s.issuer.answers("http://" + s.admin + "/readyz")
	eventually.Within(t, time.Minute, "the stream to show that it works", func() bool {
		metrics := send(t, plain, http.MethodGet, "http://"+s.admin+"/metrics", nil).ok(t).body
		for line := range strings.Lines(string(metrics)) {
			if strings.HasPrefix(line, "sallyport_issuer_stream_verified_timestamp_seconds{") {
				return !strings.HasSuffix(line, " 0\n")
			}
		}
		return false
	})
}

// mayPush lets the client's stream be pushed to the issuer.
func (s *sharing) mayPush(t *testing.T) {
	t.Helper()
	var found []map[string]any
	s.keycloak.admin(t, http.MethodGet, "/clients?clientId="+s.client, nil).json(t, &found)
	attributes, ok := found[0]["attributes"].(map[string]any)
	if !ok {
		t.Fatalf("the client %s has no attributes", s.client)
	}
	attributes["ssf.validPushUrls"] = "http://" + s.listen + "/security-events"
	s.keycloak.admin(t, http.MethodPut, fmt.Sprint("/clients/", found[0]["id"]), found[0])
}

// told waits until the log revokes something of Keycloak's.
func (s *sharing) told(t *testing.T, what, kind, value string) {
	t.Helper()
	eventually.Within(t, time.Minute, what+": the revocation", func() bool {
		return s.revoked(t, kind, value)
	})
	s.probe.row(t, "a stream, "+s.delivery+": "+what, "revoked by "+kind, "revoked by "+kind, true)
}

func (s *sharing) revoked(t *testing.T, kind, value string) bool {
	t.Helper()
	asked := url.Values{"kind": {kind}, "value": {value}, "issuer": {s.realm}}
	var list struct {
		Entries []struct{} `json:"entries"`
	}
	send(t, plain, http.MethodGet, "http://"+s.admin+"/admin/revocations?"+asked.Encode(), nil,
		"Authorization: Bearer "+receiversToken).ok(t).json(t, &list)
	return len(list.Entries) > 0
}

// in logs a user in of whom nothing has been told in another stream's test.
func (s *sharing) in(t *testing.T, user string) handed {
	t.Helper()
	return s.login(t, "shop-web", user+"-"+s.delivery, "openid")
}

// isTold: a user's own logout is of that session alone, an administrator's of all the user's, and a
// new password's too.
func (s *sharing) isTold(t *testing.T) {
	t.Helper()
	one, other := s.in(t, "carol"), s.in(t, "carol")
	s.logOut(t, one)
	s.told(t, "a user logs out", "sid", one.session)
	if s.revoked(t, "sid", other.session) || s.revoked(t, "sub", one.subject) {
		t.Error("more is revoked than the session that was logged out of")
	}
	s.keycloak.admin(t, http.MethodPost, "/users/"+other.subject+"/logout", map[string]any{})
	s.told(t, "an administrator logs a user out", "sub", other.subject)
	dave := s.in(t, "dave")
	s.keycloak.admin(t, http.MethodPut, "/users/"+dave.subject+"/reset-password",
		map[string]any{"type": "password", "value": passwordOf("dave-" + s.delivery)})
	s.told(t, "a password is changed", "sub", dave.subject)
}

// makesItAgain: somebody deletes the stream at Keycloak.
func (s *sharing) makesItAgain(t *testing.T) {
	t.Helper()
	streams := func() (ids []string) {
		var list []struct {
			ID string `json:"stream_id"`
		}
		send(t, plain, http.MethodGet, s.realm+"/ssf/transmitter/streams", nil,
			s.mayManage(t, s.client)).ok(t).json(t, &list)
		for _, one := range list {
			ids = append(ids, one.ID)
		}
		return ids
	}
	before := streams()
	if len(before) != 1 {
		t.Fatalf("expected one stream, got %q", before)
	}
	send(t, plain, http.MethodDelete, s.realm+"/ssf/transmitter/streams?stream_id="+before[0], nil,
		s.mayManage(t, s.client)).ok(t)
	eventually.Within(t, time.Minute, "the stream to be made again", func() bool {
		now := streams()
		return len(now) == 1 && now[0] != before[0]
	})
	h := s.in(t, "erin")
	s.logOut(t, h)
	s.told(t, "a user logs out, over a stream that was made again", "sid", h.session)
}

// isToldLate: what happens while the issuer is down is told once it is there again.
func (s *sharing) isToldLate(t *testing.T) {
	t.Helper()
	h := s.in(t, "frank")
	s.issuer.stop()
	s.logOut(t, h)
	s.start(t)
	s.told(t, "a user logs out while the issuer is down", "sid", h.session)
}
