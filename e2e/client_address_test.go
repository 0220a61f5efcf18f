package e2e_test

import (
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

// TestClientsBehindEnvoyAreToldApart: the issuer of the demo knows its Envoy, so that a client's
// wrong passwords are held against that client. Were all of them Envoy, one could lock out
// everybody.
func TestClientsBehindEnvoyAreToldApart(t *testing.T) {
	m := shared(t)
	at := m.Endpoints()
	for _, address := range []string{"127.0.0.77", "127.0.0.78"} {
		client := &http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{
			DialContext: (&net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(address)}}).DialContext,
		}}
		answer, err := client.Post(
			at.Gateway+"/login",
			"application/json",
			strings.NewReader(`{"username":"`+at.Users[0].Name+`","password":"wrong"}`),
		)
		if err != nil {
			t.Fatal(err)
		}
		answer.Body.Close()
		client.CloseIdleConnections()
		if answer.StatusCode != http.StatusUnauthorized {
			t.Fatalf("a wrong password from %s got %d", address, answer.StatusCode)
		}
	}
	logs, err := filepath.Glob(filepath.Join(common.dir, "*", "issuer*.log"))
	if err != nil || len(logs) == 0 {
		t.Fatalf("no logs of issuers: %v", err)
	}
	var lines strings.Builder
	for _, name := range logs {
		log, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		lines.Write(log)
	}
	for _, address := range []string{"127.0.0.77", "127.0.0.78"} {
		line := `"event":"login".*"address":"` + regexp.QuoteMeta(address) + `"`
		if !regexp.MustCompile(line).MatchString(lines.String()) {
			t.Errorf("no login is held against %s", address)
		}
	}
}
