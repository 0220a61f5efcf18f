package keyring

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

func noneRevoked(string) bool { return false }

func TestRetiredKeyStaysPublishedUntilItsLastTokenExpired(t *testing.T) {
	b := newBench(t)
	r := b.open()
	token := sign(t, r)
	if _, err := b.folder.Rotate(t.Context(), Signing, "", true); err != nil {
		t.Fatal(err)
	}
	retired := b.key(Signing, Retired)
	// An issuer that hears of the rotation last signs for Spread more; its token lives for an hour,
	// plus the skew.
	for b.clock.now().Before(retired.Until.Add(-time.Minute)) {
		if err := r.Reload(t.Context()); err != nil {
			t.Fatal(err)
		}
		if !verifies(t, published(t, r.KeySet()), token) {
			t.Fatalf("the retired key is gone at %v, expected it until %v", b.clock.now(), retired.Until)
		}
		b.clock.advance(time.Minute)
	}
	if retired.Until.Sub(retired.Retired) < time.Hour+4*time.Minute {
		t.Fatalf("expected a retired key to stay for an hour and more, got %v",
			retired.Until.Sub(retired.Retired))
	}
	b.clock.advance(time.Minute)
	if err := r.Reload(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, known := r.Public(retired.ID); known || strings.Contains(string(r.KeySet()), retired.ID) {
		t.Fatal("the retired key is still published after its time")
	}
}

func TestRotationIsAutomatic(t *testing.T) {
	b := newBench(t, rotating(24*time.Hour))
	r := b.open()
	first := signer(t, sign(t, r))
	b.clock.advance(24*time.Hour - time.Second)
	r.tend(t.Context())
	if got := signer(t, sign(t, r)); got != first {
		t.Fatalf("expected %q to sign for a day, got %q", first, got)
	}
	seen := map[string]bool{first: true}
	for day := range 5 {
		b.clock.advance(24 * time.Hour)
		r.tend(t.Context())
		kid := signer(t, sign(t, r))
		if seen[kid] {
			t.Fatalf("day %d: expected another key, got %q again", day, kid)
		}
		seen[kid] = true
	}
	if n := len(b.listing()); n > 10 {
		t.Errorf("expected the files of keys that left the ring to be deleted, got %d files", n)
	}
	if got := b.metric("sallyport_keyring_activations_total", "signing"); got != 5 {
		t.Errorf("expected 5 activations in the metric, got %v", got)
	}
	if got := b.metric("sallyport_keyring_keys", "retired", "signing"); got > 1 {
		t.Errorf("expected at most one retired signing key, got %v", got)
	}
}

func TestIssuerWithoutRotationNeverWrites(t *testing.T) {
	b := newBench(t)
	if _, err := b.folder.Rotate(t.Context(), Signing, "", true); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(b.path(lockFile)); err != nil {
		t.Fatal(err)
	}
	before := fmt.Sprint(b.listing())
	r := b.open()
	for range 10 {
		b.clock.advance(1000 * time.Hour)
		r.tend(t.Context())
		sign(t, r)
	}
	if after := fmt.Sprint(b.listing()); after != before {
		t.Fatal("the folder has changed")
	}
}

func TestRotationNeedsAFolderThatCanBeWrittenTo(t *testing.T) {
	b := newBench(t, rotating(24*time.Hour))
	if err := os.Remove(b.path(lockFile)); err != nil {
		t.Fatal(err)
	}
	// root may write anywhere, but not into a folder as if it were a file
	if err := os.Mkdir(b.path(lockFile), 0o700); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(b.config, b.options()); err == nil ||
		!strings.Contains(err.Error(), "rotate_every") {
		t.Fatalf("expected the setting in the error, got %v", err)
	}
}

func TestFailedRotationIsToldAndTriedAgain(t *testing.T) {
	b := newBench(t, rotating(24*time.Hour))
	r := b.open()
	first := signer(t, sign(t, r))
	b.must(os.Remove(b.path(lockFile)))
	b.must(os.Mkdir(b.path(lockFile), 0o700))
	b.clock.advance(25 * time.Hour)
	r.tend(t.Context())
	if b.metric("sallyport_keyring_rotation_failures_total") != 1 ||
		!strings.Contains(b.log.String(), "rotation failed") ||
		signer(t, sign(t, r)) != first {
		t.Fatalf("expected to be told and to go on with %q: %s", first, b.log)
	}
	b.must(os.Remove(b.path(lockFile)))
	r.tend(t.Context())
	if signer(t, sign(t, r)) == first {
		t.Fatal("expected the rotation to be made up for")
	}
}

// An operator's command, run as root, must not lock the issuer out of its own ring.
func TestNewFilesBelongToTheFoldersOwner(t *testing.T) {
	b := newBench(t)
	owner := os.Geteuid()
	if owner == 0 {
		owner = 65532
		b.must(os.Chown(b.folder.Dir, owner, owner))
	}
	b.must(os.Remove(b.path(lockFile)))
	if _, err := b.folder.Rotate(t.Context(), Signing, "", true); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{manifestFile, lockFile, b.key(Signing, Next).File} {
		info, err := os.Stat(b.path(name))
		b.must(err)
		if got := int(info.Sys().(*syscall.Stat_t).Uid); got != owner {
			t.Errorf("%s: expected the owner %d, got %d", name, owner, got)
		}
	}
}

func TestRotationFasterThanReadersLearnIsRefused(t *testing.T) {
	b := newBench(t, rotating(10*time.Minute))
	if _, err := Open(b.config, b.options()); err == nil ||
		!strings.Contains(err.Error(), "at least 18m0s") {
		t.Fatalf("expected the least time in the error, got %v", err)
	}
}

func TestSeveralIssuersOverOneFolderAgree(t *testing.T) {
	b := newBench(t, rotating(24*time.Hour))
	rings := []*Ring{b.open(), b.other(), b.other(), b.other()}
	for range 4 {
		b.clock.advance(25 * time.Hour)
		var wg sync.WaitGroup
		for _, r := range rings {
			wg.Go(func() { r.tend(t.Context()) })
		}
		wg.Wait()
		for _, r := range rings {
			if err := r.Reload(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		want := signer(t, sign(t, rings[0]))
		for _, r := range rings {
			if got := signer(t, sign(t, r)); got != want || string(r.KeySet()) != string(rings[0].KeySet()) {
				t.Fatalf("expected all issuers to sign with %q and to publish the same keys, got %q", want, got)
			}
		}
	}
	var m manifest
	if err := json.Unmarshal([]byte(b.read(manifestFile)), &m); err != nil {
		t.Fatal(err)
	}
	// The first turn also writes down the issuers' longer lifetimes; one revision a turn besides
	// the first.
	if m.Revision > 6 {
		t.Errorf("expected each rotation to happen once, got revision %d", m.Revision)
	}
}

func TestKeysChangeWhileTheRingIsInUse(t *testing.T) {
	b := newBench(t)
	r := b.open()
	stop := make(chan struct{})
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				compact, err := r.SignUnless(noneRevoked, "at+jwt", []byte(`{}`))
				if err != nil || !r.CheckRefreshMAC([]byte("m"), r.RefreshMAC([]byte("m"))) ||
					len(r.KeySet()) == 0 ||
					compact == "" {
					t.Errorf("signing in the midst of a change: %v", err)
					return
				}
			}
		})
	}
	for range 20 {
		if _, err := b.folder.Rotate(t.Context(), Signing, "", true); err != nil {
			t.Error(err)
		}
		if err := r.Reload(t.Context()); err != nil {
			t.Error(err)
		}
	}
	close(stop)
	wg.Wait()
}

func TestRefreshTokensSurviveRotation(t *testing.T) {
	b := newBench(t)
	r, other := b.open(), b.other()
	msg := []byte("sid.1")
	mac := r.RefreshMAC(msg)
	if _, err := b.folder.Rotate(t.Context(), Refresh, "", true); err != nil {
		t.Fatal(err)
	}
	if err := r.Reload(t.Context()); err != nil {
		t.Fatal(err)
	}
	if string(r.RefreshMAC(msg)) == string(mac) {
		t.Fatal("expected another key to authenticate refresh tokens")
	}
	if !r.CheckRefreshMAC(msg, mac) {
		t.Error("the retired key's refresh token is refused")
	}
	if !other.CheckRefreshMAC(msg, r.RefreshMAC(msg)) {
		t.Error("an issuer that has not heard of the rotation refuses the new key's refresh token")
	}
	b.clock.advance(24*time.Hour + 10*time.Minute)
	b.edit(func(m *manifest) { m.Lifetimes.Session = time.Hour })
	if err := r.Reload(t.Context()); err != nil {
		t.Fatal(err)
	}
	if r.CheckRefreshMAC(msg, mac) {
		t.Error("the retired key outlives the longest session")
	}
}

func TestRefreshMACOfAnotherKeyOrMessageIsRefused(t *testing.T) {
	r, stranger := newBench(t).open(), newBench(t).open()
	mac := r.RefreshMAC([]byte("sid.1"))
	for name, c := range map[string]struct{ msg, mac []byte }{
		"another message": {[]byte("sid.2"), mac},
		"another ring":    {[]byte("sid.1"), stranger.RefreshMAC([]byte("sid.1"))},
		"cut":             {[]byte("sid.1"), mac[:31]},
		"longer":          {[]byte("sid.1"), append(append([]byte{}, mac...), 0)},
		"empty":           {[]byte("sid.1"), nil},
	} {
		if r.CheckRefreshMAC(c.msg, c.mac) {
			t.Errorf("%s: accepted", name)
		}
	}
}

func TestSubjectTagNeverChangesAndTellsNothing(t *testing.T) {
	b := newBench(t)
	r := b.open()
	tag := r.SubjectTag("https://issuer.example", "alice")
	if len(tag) != 22 || strings.ContainsAny(tag, "{}~.") || strings.Contains(tag, "alice") {
		t.Fatalf("expected 22 characters of base64url, got %q", tag)
	}
	for _, use := range []Use{Signing, Refresh} {
		if _, err := b.folder.Rotate(t.Context(), use, "", true); err != nil {
			t.Fatal(err)
		}
	}
	if got := b.other().SubjectTag("https://issuer.example", "alice"); got != tag {
		t.Errorf("expected %q at another issuer after a rotation, got %q", tag, got)
	}
	for _, other := range [][2]string{
		{"https://issuer.example", "bob"}, {"https://issuer.examplea", "lice"},
		{"https://issuer.exampl", "ealice"}, {"", "https://issuer.examplealice"},
	} {
		if r.SubjectTag(other[0], other[1]) == tag {
			t.Errorf("%q shares the tag", other)
		}
	}
	if newBench(t).open().SubjectTag("https://issuer.example", "alice") == tag {
		t.Error("another ring makes the same tag")
	}
}

// TestARevokedKeySignsNothing: the next one does, until the folder is read anew; without a next one
// nothing is signed.
func TestARevokedKeySignsNothing(t *testing.T) {
	b := newBench(t, rotating(24*time.Hour))
	r := b.open()
	b.clock.advance(23*time.Hour + 30*time.Minute)
	r.tend(t.Context())
	revoked := map[string]bool{}
	signed := func() (string, error) {
		return r.SignUnless(func(kid string) bool { return revoked[kid] }, "at+jwt",
			[]byte(`{"iss":"https://issuer.example"}`))
	}
	active, err := signed()
	if err != nil || signer(t, active) != signer(t, sign(t, r)) {
		t.Fatalf("the active key does not sign: %v", err)
	}
	revoked[signer(t, active)] = true
	next, err := signed()
	if err != nil || signer(t, next) == signer(t, active) ||
		!verifies(t, published(t, r.KeySet()), next) {
		t.Fatalf("expected a token under the next key, which is published: %v", err)
	}
	revoked[signer(t, next)] = true
	if _, err := signed(); !errors.Is(err, ErrRevoked) {
		t.Errorf("with every key revoked: %v", err)
	}
}
