package keyset

import (
	"errors"
	"net/http"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sallyport/sallyport/internal/config"
	"github.com/sallyport/sallyport/internal/jose"
	"github.com/sallyport/sallyport/internal/keyring"
)

// A real ring that rotates as fast as it may, and a gate that only refreshes: no token is signed by
// a key that the gate does not know, and none outlives its key.
func TestRotationsOfARingRefuseNoValidToken(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "keys")
	synctest.Test(t, func(t *testing.T) {
		folder := &keyring.Folder{Dir: dir}
		if _, err := folder.Generate(t.Context(), "ES256"); err != nil {
			t.Fatal(err)
		}
		cfg := keyring.DefaultConfig()
		cfg.Dir = config.Path(dir)
		ring, err := keyring.Open(cfg,
			keyring.Options{Now: time.Now, PublishFor: 15 * time.Minute, MaxLifetime: time.Hour})
		if err != nil {
			t.Fatal(err)
		}
		o := &origin{answer: func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Cache-Control", "max-age=900")
			w.Write(ring.KeySet())
		}}
		g := newGate(t, Options{Transport: o, Now: time.Now}, trust(issuerA))
		defer start(t, g)()
		type live struct {
			compact string
			expires time.Time
		}
		var tokens []live
		kids := map[string]bool{}
		for range 120 { // six hours
			if _, err := folder.Rotate(t.Context(), keyring.Signing, "", false); err != nil &&
				!errors.Is(err, keyring.ErrTooEarly) {
				t.Fatal(err)
			}
			if err := ring.Reload(t.Context()); err != nil {
				t.Fatal(err)
			}
			compact, err := ring.SignUnless(func(string) bool { return false }, "at+jwt", []byte(`{}`))
			if err != nil {
				t.Fatal(err)
			}
			tokens = append(tokens, live{compact, time.Now().Add(time.Hour)})
			for len(tokens) > 0 && time.Now().After(tokens[0].expires) {
				tokens = tokens[1:]
			}
			for _, l := range tokens {
				p, err := jose.Parse(l.compact)
				if err != nil {
					t.Fatal(err)
				}
				kids[p.Header.KeyID] = true
				k, _ := g.Key(issuerA, p.Header.KeyID, p.Header.Algorithm)
				if k == nil || k.Verify(p.Header.Algorithm, p.SigningInput, p.Signature) != nil {
					t.Fatalf("a valid token is refused at %v", time.Now())
				}
			}
			time.Sleep(3 * time.Minute)
			synctest.Wait()
		}
		if len(kids) < 15 {
			t.Errorf("expected a rotation every 18 minutes, got %d keys", len(kids))
		}
	})
}
