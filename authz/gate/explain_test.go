package gate_test

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/sallyport/sallyport/authz/extauthz"
	"github.com/sallyport/sallyport/authz/gate"
	"github.com/sallyport/sallyport/internal/adminapi"
	"github.com/sallyport/sallyport/internal/eventually"
)

// TestAGateTellsWhyToWhoeverHasItsAdminToken, and to nobody else.
func TestAGateTellsWhyToWhoeverHasItsAdminToken(t *testing.T) {
	secret := strings.Repeat("s", 32)
	file := filepath.Join(t.TempDir(), "admin")
	if err := os.WriteFile(file, []byte(secret+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, row := range map[string]struct {
		configured bool
		bearer     string
		body       string
		status     int
		want       string
	}{
		"asked rightly":       {true, "Bearer " + secret, `{"method":"GET","host":"h","path":"/x"}`, 200, `"reason":"no_token"`},
		"what is public":      {true, "Bearer " + secret, `{"method":"GET","host":"h","path":"/public"}`, 200, `"allow":true`},
		"no token":            {true, "", `{"method":"GET","host":"h","path":"/x"}`, 401, "invalid_token"},
		"another token":       {true, "Bearer " + secret + "x", `{}`, 401, "invalid_token"},
		"another scheme":      {true, "Basic " + secret, `{}`, 401, "invalid_token"},
		"no JSON":             {true, "Bearer " + secret, `x`, 400, "invalid_request"},
		"an unknown name":     {true, "Bearer " + secret, `{"paht":"/x"}`, 400, "invalid_request"},
		"more than one":       {true, "Bearer " + secret, `{"path":"/x"} {}`, 400, "invalid_request"},
		"too much":            {true, "Bearer " + secret, `{"path":"/` + strings.Repeat("x", 70000) + `"}`, 400, "invalid_request"},
		"no token configured": {false, "Bearer " + secret, `{"method":"GET","host":"h","path":"/x"}`, 404, ""},
	} {
		t.Run(name, func(t *testing.T) {
			admin := freeAddress(t)
			text := goodConfig + "admin: {listen: " + admin
			if row.configured {
				text += ", token_file: " + file
			}
			c, _, err := load(t, text+"}\n", nil, "--listen", freeAddress(t), "--redis-address",
				freeAddress(t), "--drain-delay", "0s")
			if err != nil {
				t.Fatal(err)
			}
			g, err := gate.New(c, gate.Options{Audit: io.Discard, Transport: extauthz.GRPC})
			if err != nil {
				t.Fatal(err)
			}
			ctx, stop := context.WithCancel(t.Context())
			ended := make(chan error, 1)
			go func() { ended <- g.Run(ctx) }()
			base := "http://" + admin
			eventually.True(t, "the admin port answers", func() bool {
				response, err := http.Get(base + "/livez")
				return err == nil && response.Body.Close() == nil
			})
			status, body := post(t, base+adminapi.ExplainPath, row.bearer, row.body)
			if status != row.status || !strings.Contains(body, row.want) ||
				strings.Contains(body, secret) {
				t.Errorf("got %d %s", status, body)
			}
			var answer adminapi.Explanation
			if status == 200 {
				if err := json.Unmarshal([]byte(body), &answer); err != nil || len(answer.Steps) < 3 {
					t.Errorf("%v in %s", err, body)
				}
			}
			stop()
			<-ended // how a gate stops that has hardly begun is no matter here
		})
	}
}

func post(t *testing.T, url, authorization, body string) (int, string) {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, url,
		bytes.NewReader([]byte(body)))
	if err != nil {
		t.Fatal(err)
	}
	if authorization != "" {
		request.Header.Set("Authorization", authorization)
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response.StatusCode, string(text)
}

// TestAnAdminTokenThatCouldBeGuessedIsRefused when the configuration is read.
func TestAnAdminTokenThatCouldBeGuessedIsRefused(t *testing.T) {
	_, _, err := load(t, goodConfig+"admin: {token: short}\n", nil)
	if err == nil || !strings.Contains(err.Error(), "authz.yaml:3:16: admin.token: expected an admin"+
		" token of at least 32 bytes") {
		t.Errorf("got %v", err)
	}
}
