//go:build issuers

package issuers_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/sallyport/sallyport/internal/eventually"
)

// startSPIRE: a server that mints JWT-SVIDs, and the discovery provider that publishes its keys.
func startSPIRE(t *testing.T) *issuer {
	const version = "v1.13.3"
	dir := installed(t, "spire")
	s := &spire{program: filepath.Join(dir, "spire-server")}
	// The path of a socket is short.
	sockets, err := os.MkdirTemp("", "spire")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(sockets) })
	s.socket = filepath.Join(sockets, "api.sock")
	work, base := t.TempDir(), fmt.Sprintf("http://127.0.0.1:%d", freePort(t))
	write := func(name, content string) string {
		file := filepath.Join(work, name)
		if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		return file
	}
	serve(t, "spire-server", nil, s.program, "run", "-config", write("server.conf", fmt.Sprintf(`
server {
  bind_address = "127.0.0.1"
  bind_port = "%d"
  socket_path = "%s"
  trust_domain = "example.org"
  data_dir = "%s"
  jwt_issuer = "%s"
}
plugins {
  DataStore "sql" {
    plugin_data { database_type = "sqlite3" connection_string = "%[3]s/datastore.sqlite3" }
  }
  NodeAttestor "join_token" { plugin_data {} }
  KeyManager "memory" { plugin_data {} }
}
`, freePort(t), s.socket, work, base)))
	eventually.True(t, "the SPIRE server to be healthy", func() bool {
		check := exec.CommandContext(t.Context(), s.program, "healthcheck", "-socketPath", s.socket)
		return check.Run() == nil
	})
	provider := serve(t, "oidc-discovery-provider", nil, filepath.Join(dir, "oidc-discovery-provider"),
		"-config", write("provider.conf", fmt.Sprintf(`
domains = ["127.0.0.1"]
allow_insecure_scheme = true
insecure_addr = "%s"
server_api { address = "unix://%s" poll_interval = "1s" }
`, strings.TrimPrefix(base, "http://"), s.socket)))
	provider.answers(base + "/keys")
	bundle := write("bundle.json", s.run(t, "bundle", "show", "-format", "spiffe"))

	entry := example(t, "issuers", "spire", "https://oidc.example.org", base)
	return &issuer{
		name: "spire", version: "SPIRE " + version, iss: base, entry: entry,
		variants: map[string]string{
			"a SPIFFE bundle": keySetLine.ReplaceAllString(entry, "  jwks_file: "+bundle+"\n"),
			"discovery":       discovering(entry),
		},
		login: func(t *testing.T, user string) handed {
			return handed{access: s.mint(t, user, "orders"), subject: "spiffe://example.org/" + user}
		},
		wrong: []wrongToken{
			{"wrong audience", func(t *testing.T) string { return s.mint(t, "alice", "billing") },
				[]string{"audience"}},
		},
		rotate:    s.rotate,
		revocable: []string{"kid", "sub"},
		tokens: func(t *testing.T) map[string]string {
			return map[string]string{"access": s.mint(t, "alice", "orders")}
		},
		documents: map[string]func(*testing.T) []byte{
			"jwks": at(base + "/keys"), "discovery": at(base + "/.well-known/openid-configuration"),
			"bundle": func(t *testing.T) []byte {
				return []byte(s.run(t, "bundle", "show", "-format", "spiffe"))
			},
		},
	}
}

type spire struct{ program, socket string }

// run runs a command of the server's, and returns what it prints.
func (s *spire) run(t *testing.T, args ...string) string {
	t.Helper()
	args = append(args, "-socketPath", s.socket)
	out, err := exec.CommandContext(t.Context(), s.program, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("spire-server %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return string(out)
}

func (s *spire) mint(t *testing.T, user, audience string) string {
	t.Helper()
	return strings.TrimSpace(
		s.run(t, "jwt", "mint", "-spiffeID", "spiffe://example.org/"+user, "-audience", audience))
}

var authorityID = regexp.MustCompile(`Authority ID: (\S+)`)

// rotate prepares a key, which publishes it, and has it sign from then on.
func (s *spire) rotate(t *testing.T) {
	found := authorityID.FindStringSubmatch(s.run(t, "localauthority", "jwt", "prepare"))
	if found == nil {
		t.Fatal("expected the id of the key that was prepared")
	}
	s.run(t, "localauthority", "jwt", "activate", "-authorityID", found[1])
}
