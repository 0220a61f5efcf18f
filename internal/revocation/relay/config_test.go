package relay_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/sallyport/sallyport/internal/config"
	"github.com/sallyport/sallyport/internal/revocation/relay"
)

func load(t *testing.T, text string) (*relay.Config, error) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "relay.yaml")
	must(t, os.WriteFile(file, []byte(text), 0o600))
	return relay.Load(config.Options{File: file, EnvPrefix: "RELAY_TEST"})
}

// TestARelayBeyondThisMachineAsksWhoTheyAre: whoever reaches it reads the log.
func TestARelayBeyondThisMachineAsksWhoTheyAre(t *testing.T) {
	for text, want := range map[string]string{
		"listen: 0.0.0.0:10005":         "gates.password",
		"listen: ':10005'":              "gates.password",
		"listen: relay.localhost:10005": "gates.password",
		"listen: 10.0.0.1:10005\ngates: {tls: {cert_file: c, key_file: k}}": "gates.password",
		"listen: here":                                     "listen",
		"listen: 'unix:'":                                  "listen",
		"gates: {max_connections: 3}":                      "gates.max_connections",
		"gates: {username: ''}":                            "gates.username",
		"gates: {socket_mode: '0'}":                        "gates.socket_mode",
		"gates: {tls: {client_ca_file: c}}":                "gates.tls.client_ca_file",
		"redis: {mode: other}":                             "redis.mode",
		"revocation: {heartbeat: 1ms}":                     "revocation.heartbeat",
		"snapshot: {file: x}":                              "snapshot",
		"listen: 127.0.0.1:10005":                          "",
		"listen: unix:/run/relay.sock":                     "",
		"listen: 0.0.0.0:10005\ngates: {password: secret}": "",
		"listen: 0.0.0.0:1\ngates: {tls: {cert_file: c, key_file: k, client_ca_file: a, client_names: [g]}}": "",
	} {
		_, err := load(t, text+"\n")
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%s: got %v, want %q", text, err, want)
		}
	}
}

func TestARelayHasTheMachinesName(t *testing.T) {
	name, err := os.Hostname()
	must(t, err)
	if c, err := load(t, "listen: 127.0.0.1:1\n"); err != nil || c.Name != name {
		t.Errorf("got %q, %v, want %q", c.Name, err, name)
	}
}
