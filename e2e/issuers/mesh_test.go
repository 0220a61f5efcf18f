//go:build issuers

package issuers_test

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/sallyport/sallyport/internal/mesh"
	"github.com/sallyport/sallyport/internal/meshtest"
)

// gated is a mesh whose gate trusts one issuer, the real one.
type gated struct {
	*meshtest.Stack
	iss string
}

// gate starts a mesh with an entry for an issuer in the place of its own, and, unless that is
// empty, with one for its messages.
func gate(t *testing.T, iss, entry, sender string) *gated {
	t.Helper()
	return withEntries(t, iss, func(string) string { return entry }, sender)
}

// theirs is what the roles of an issuer begin with that stands beside the mesh's own.
const theirs = "theirs:"

// besideOurs starts a mesh whose gate trusts its own issuer and another one.
func besideOurs(t *testing.T, iss, entry string) *gated {
	t.Helper()
	return withEntries(t, iss, func(ours string) string {
		return ours + "\n  role_prefix: \"\"\n" + strings.TrimRight(entry, "\n") +
			"\n  role_prefix: \"" + theirs + "\""
	}, "")
}

func withEntries(t *testing.T, iss string, entries func(ours string) string, sender string) *gated {
	t.Helper()
	const list = "\nissuers:\n"
	return &gated{meshtest.Start(t, meshtest.Options{Mesh: func(o *mesh.Options) {
		o.Rewrite = func(name, content string) string {
			switch {
			case name == "authz.yaml":
				before, rest, ok := strings.Cut(content, list)
				ours, after, ends := strings.Cut(rest, "\n\n")
				if !ok || !ends {
					t.Fatalf("expected a list of issuers, and an empty line after it, got:\n%s", content)
				}
				return before + list + strings.TrimRight(entries(ours), "\n") + "\n\n" + after
			case name == "issuer.yaml" && sender != "":
				return content + "\nsenders:\n" + sender
			}
			return content
		}
	}}), iss}
}

// revoke has the operator's command write a revocation of the issuer's, and returns once every
// gate has applied it.
func (g *gated) revoke(t *testing.T, kind, value string) {
	t.Helper()
	e := g.Endpoints()
	program := filepath.Join(meshtest.Binaries(t, false), "sallyport")
	out, err := exec.CommandContext(t.Context(), program, "revoke", "--"+kind, value,
		"--issuer", g.iss, "--issuer-admin", e.IssuerAdmin, "--token-file", e.AdminTokenFile,
		"--wait", "5s").CombinedOutput()
	if err != nil {
		t.Fatalf("sallyport revoke --%s %s: %v\n%s", kind, value, err, out)
	}
}

// lasts returns for how long the newest revocation of a kind and value is kept from now on.
func (g *gated) lasts(t *testing.T, kind, value string) time.Duration {
	t.Helper()
	e := g.Endpoints()
	token, err := os.ReadFile(e.AdminTokenFile)
	if err != nil {
		t.Fatal(err)
	}
	asked := url.Values{"kind": {kind}, "value": {value}, "issuer": {g.iss}}
	var list struct {
		Entries []struct {
			Expires time.Time `json:"expires"`
		} `json:"entries"`
	}
	send(t, plain, http.MethodGet, e.IssuerAdmin+"/admin/revocations?"+asked.Encode(), nil,
		"Authorization: Bearer "+strings.TrimSpace(string(token))).ok(t).json(t, &list)
	if len(list.Entries) == 0 {
		t.Fatalf("the log has no revocation of the %s", kind)
	}
	return time.Until(list.Entries[len(list.Entries)-1].Expires)
}

// verdict is what the gate says of a token.
type verdict struct {
	status int
	reason string
	seen   mesh.Received // by the upstream, when it passed
}

func (v verdict) String() string {
	if v.status == http.StatusOK {
		return "200"
	}
	return strings.TrimSpace(fmt.Sprintf("%d %s", v.status, v.reason))
}

func (g *gated) judge(t *testing.T, path, token string) verdict {
	t.Helper()
	answer := g.For(t).Call(path, token)
	v := verdict{status: answer.Status, reason: answer.Header.Get("X-Sallyport-Reason")}
	if v.status == http.StatusOK {
		v.seen = answer.Received()
	}
	return v
}

// eventually judges a token until it is judged as wanted, or the time is over, and returns the last
// verdict.
func (g *gated) eventually(t *testing.T, token string, limit time.Duration,
	wanted func(verdict) bool) verdict {
	t.Helper()
	for deadline := time.Now().Add(limit); ; time.Sleep(50 * time.Millisecond) {
		v := g.judge(t, "/protected", token)
		if wanted(v) || time.Now().After(deadline) {
			return v
		}
	}
}

// receivers are where the product's issuer takes messages, by their channel.
var receivers = map[string]string{
	backChannel:   "/backchannel-logout",
	sharedSignals: "/security-events",
}

// deliver hands a message on through Envoy to the product's issuer, as its sender would, and
// returns the status.
func (g *gated) deliver(message received) int {
	at := receivers[backChannel]
	if message.over(sharedSignals) {
		at = receivers[sharedSignals]
	}
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodPost,
		g.Endpoints().Gateway+at, bytes.NewReader(message.body))
	if err != nil {
		return http.StatusInternalServerError
	}
	request.Header.Set("Content-Type", message.contentType)
	if message.authorization != "" {
		request.Header.Set("Authorization", message.authorization)
	}
	response, err := plain.Do(request)
	if err != nil {
		return http.StatusBadGateway
	}
	response.Body.Close()
	return response.StatusCode
}
