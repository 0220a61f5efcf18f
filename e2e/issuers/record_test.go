//go:build issuers

package issuers_test

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/sallyport/sallyport/internal/meshtest"
)

// TestRecord writes what each issuer writes into testdata, byte for byte: header and claims of its
// tokens and messages, and its documents. No signature and no private key is among it.
func TestRecord(t *testing.T) {
	forEach(t, func(t *testing.T, i *issuer) {
		r := record{dir: t.TempDir()}
		r.write(t, "VERSION", fmt.Appendf(nil, "%s, recorded on %s\n", i.version,
			time.Now().UTC().Format(time.DateOnly)))
		tokens := i.tokens(t)
		for _, name := range slices.Sorted(maps.Keys(tokens)) {
			r.token(t, name, tokens[name])
		}
		for name, document := range i.documents {
			r.write(t, name+".json", document(t))
		}
		for _, channel := range i.channels {
			for n, e := range i.endings {
				if slices.Contains(e.tells, channel) {
					h := i.login(t, []string{"alice", "bob"}[n%2])
					i.messages.take()
					e.end(t, h)
					r.messages(t, channel+"-"+e.event, i.messages.about(soon, channel, e, h))
				}
			}
		}
		if t.Failed() {
			return // what was recorded before is worth more than half of this
		}
		keep := filepath.Join(meshtest.Root(t), "e2e", "issuers", "testdata", i.name)
		if err := os.RemoveAll(keep); err != nil {
			t.Fatal(err)
		}
		if err := os.CopyFS(keep, os.DirFS(r.dir)); err != nil {
			t.Fatal(err)
		}
	}, func(string) {})
}

// messages writes what the issuer has sent.
func (r record) messages(t *testing.T, name string, got []received) {
	t.Helper()
	name = strings.ReplaceAll(name, " ", "-")
	if len(got) == 0 {
		t.Errorf("%s: nothing was sent", name)
	}
	for n, message := range got {
		if n > 0 {
			name += fmt.Sprint("-", n+1)
		}
		r.token(t, name, message.jwt())
		r.write(t, name+".content-type", []byte(message.contentType+"\n"))
	}
}

// record is the folder with what an issuer has written.
type record struct{ dir string }

// token writes header and claims of a JWT. Of what is no JWT it writes only that.
func (r record) token(t *testing.T, name, token string) {
	t.Helper()
	header, claims, err := parts(token)
	if err != nil {
		t.Logf("%s is no JWT: %d characters", name, len(token))
		return
	}
	r.write(t, name+".header.json", header)
	r.write(t, name+".claims.json", claims)
}

func (r record) write(t *testing.T, name string, content []byte) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(r.dir, name), content, 0o644); err != nil {
		t.Fatal(err)
	}
}
