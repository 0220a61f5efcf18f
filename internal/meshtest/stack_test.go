package meshtest_test

import (
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"go.uber.org/goleak"

	"github.com/sallyport/sallyport/internal/mesh"
	"github.com/sallyport/sallyport/internal/meshtest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestAStackIsReadyAndNotesWhatReachesTheUpstream(t *testing.T) {
	s := meshtest.Start(t, meshtest.Options{Gates: 2})
	alice := s.Login("alice")
	got := s.Call("/protected?x=1", alice.AccessToken, "X-Auth-Subject: mallory").Received()
	if got.Headers["x-auth-subject"] != "alice" || got.Path != "/protected?x=1" {
		t.Errorf("the upstream received %+v", got)
	}
	if got := s.Call("/protected", "").Status; got != http.StatusUnauthorized {
		t.Errorf("without a token: %d", got)
	}
	next := s.Refresh(alice)
	s.Logout(next)
	s.Eventually("both gates refuse the token", func() bool {
		return s.Call("/protected", next.AccessToken).Status == http.StatusUnauthorized &&
			s.Call("/protected", alice.AccessToken).Status == http.StatusUnauthorized
	})
	if seen := s.Seen(); len(seen) == 0 || seen[0].Path != "/protected?x=1" {
		t.Errorf("noted %+v", seen)
	}
	s.Forget()
	if seen := s.Seen(); len(seen) != 0 {
		t.Errorf("not forgotten: %+v", seen)
	}
}

func TestAStackTakesAnyOptionOfTheMesh(t *testing.T) {
	s := meshtest.Start(t, meshtest.Options{Embedded: true, Issuers: 2, Mesh: func(o *mesh.Options) {
		o.Users = []mesh.User{{Name: "carol", Roles: []string{"ops"}}}
		o.EncodeRawHeaders = true
		o.IssuerArgs = []string{"--access-token-lifetime", "10m"}
	}})
	if got := s.Login("carol"); got.ExpiresIn != 600 {
		t.Errorf("the token lasts %d seconds", got.ExpiresIn)
	}
	var names []string
	for _, c := range s.Children() {
		names = append(names, c.Name())
	}
	if want := []string{"issuer-1", "issuer-2", "envoy", "gate-1"}; !slices.Equal(names, want) {
		t.Errorf("expected %v, got %v", want, names)
	}
	// Two issuers share keys and sessions: what one has handed out, the other ends, and with one of
	// them gone all goes on.
	if err := s.Child("issuer-1").Kill(); err != nil {
		t.Fatal(err)
	}
	s.Eventually("Envoy asks the other issuer",
		func() bool { return s.Call("/.well-known/jwks.json", "").Status == http.StatusOK })
	s.Logout(s.Login("carol"))
}

func TestTheProgramsAreBuiltFromThisTree(t *testing.T) {
	dir := meshtest.Binaries(t, false)
	for _, name := range []string{"issuer", "authz", "sallyport"} {
		if info, err := os.Stat(filepath.Join(dir, name)); err != nil || info.Mode()&0o111 == 0 {
			t.Errorf("%s: %v, %v", name, info, err)
		}
	}
	if again := meshtest.Binaries(t, false); again != dir {
		t.Errorf("built twice: %s and %s", dir, again)
	}
}
