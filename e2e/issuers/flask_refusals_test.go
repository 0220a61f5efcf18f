//go:build issuers

package issuers_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/sallyport/sallyport/authz"
	door "github.com/sallyport/sallyport/authz/gate"
	"github.com/sallyport/sallyport/internal/config"
	"github.com/sallyport/sallyport/internal/eventually"
	"github.com/sallyport/sallyport/internal/revocation"
)

// TestRefusalsAreThoseOfTheRealFlaskJWTExtended: a gate that is to refuse as it does is asked what the
// library itself is asked, and answers the same, byte for byte.
func TestRefusalsAreThoseOfTheRealFlaskJWTExtended(t *testing.T) {
	i := startFlask(t)
	file := filepath.Join(t.TempDir(), "authz.yaml")
	if err := os.WriteFile(file, []byte("issuers:\n"+i.entry+fmt.Sprintf(`
policy: {refusals: {as: flask-jwt-extended}, routes: [{match: {path: /**}}]}
name: gate
listen: 127.0.0.1:%d
admin: {listen: "127.0.0.1:%d"}
redis: {address: "127.0.0.1:%d"} # nobody is there: it is asked for no token that is good
`, freePort(t), freePort(t), freePort(t))), 0o600); err != nil {
		t.Fatal(err)
	}
	c, err := door.Load(config.Options{File: file})
	if err != nil {
		t.Fatal(err)
	}
	g, err := door.New(c, door.Options{Audit: io.Discard})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- g.Run(ctx) }()
	defer func() {
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	}()
	ask := func(authorization string) *authz.Refusal {
		r := authz.Request{
			Method: "GET", Host: "h", Path: "/me",
			At: revocation.Instant{Mono: time.Minute, Wall: time.Now()},
		}
		if authorization != "" {
			r.Headers = []authz.Header{{Name: "authorization", Value: authorization}}
		}
		d := g.Engine().Decide(&r)
		if d.Allow {
			t.Errorf("%s is let in", authorization)
		}
		return d.Refused()
	}
	user := i.login(t, "alice")
	good := "Bearer " + user.access
	eventually.True(t, "the gate has the secret", func() bool { return ask(good).Reason == "no_copy" })
	last := strings.LastIndexByte(good, '.')
	for name, authorization := range map[string]string{
		"no header":            "",
		"another scheme":       "Token x",
		"a scheme alone":       "Bearer",
		"two words":            "Bearer a b",
		"one segment":          "Bearer x",
		"two segments":         "Bearer a.b",
		"three that are none":  "Bearer a.b.c",
		"a bad signature":      good[:last+1] + strings.Repeat("A", len(good)-last-1),
		"a refresh token":      "Bearer " + user.refresh,
		"no signature's place": good[:last],
	} {
		var headers []string
		if authorization != "" {
			headers = []string{"Authorization: " + authorization}
		}
		real := send(t, plain, http.MethodGet, i.iss+"/me", nil, headers...)
		told := ask(authorization)
		if told.Status != real.status || told.Body != string(real.body) {
			t.Errorf("%s (%s): the gate says %d %q, the library %d %q", name, told.Reason, told.Status,
				told.Body, real.status, real.body)
		}
		for _, h := range told.Headers {
			if h.Name == "www-authenticate" || h.Name == "content-type" && h.Value != real.header.Get("Content-Type") {
				t.Errorf("%s: %s: %s, the library has %q", name, h.Name, h.Value, real.header.Get(h.Name))
			}
		}
	}
}
