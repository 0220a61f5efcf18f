package main

import (
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/sallyport/sallyport/internal/keyring"
)

const adminToken = "an-admin-token-of-more-than-32-bytes"

// adminStub answers as an issuer's admin API does, a revocation by status and body, and keeps what
// was asked.
func adminStub(t *testing.T, status int, body string) (base, tokenFile string, asked *[]string) {
	t.Helper()
	asked = new([]string)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "Bearer "+adminToken {
			w.WriteHeader(http.StatusUnauthorized)
			_, _ = io.WriteString(w,
				`{"error":"invalid_token","error_description":"Send the admin token as bearer."}`)
			return
		}
		content, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		*asked = append(*asked, r.Method+" "+r.URL.RequestURI()+" "+string(content))
		if r.Method == http.MethodPost {
			w.WriteHeader(status)
			_, _ = io.WriteString(w, body)
		}
	}))
	t.Cleanup(server.Close)
	tokenFile = filepath.Join(t.TempDir(), "token")
	write(t, tokenFile, adminToken+"\n")
	return server.URL, tokenFile, asked
}

func TestAStolenKeyIsRemovedAndRevokedInOneStep(t *testing.T) {
	dir := t.TempDir()
	made := keys(t, "keygen", "--dir", dir)
	stolen, next := find(t, made, keyring.Active), find(t, made, keyring.Next)
	admin, token, asked := adminStub(t, http.StatusOK, `{"revoked":true,"seq":7,"applied":"3/3"}`)
	out, _, err := sallyport("", "keys", "revoke", stolen.ID, "--dir", dir, "--issuer-admin",
		admin, "--token-file", token, "--actor", "dana")
	if err != nil || !strings.Contains(out, "entry 7") || !strings.Contains(out, "3/3 gates") {
		t.Errorf("%v\n%s", err, out)
	}
	want := `POST /admin/revocations?wait=5s {"actor":"dana","kind":"kid","reason":"key_revoked",` +
		`"value":"` + stolen.ID + `"}`
	if len(*asked) != 2 || (*asked)[1] != want {
		t.Errorf("asked %q, expected %q", *asked, want)
	}
	left := keys(t, "keys", "list", "--dir", dir)
	if find(t, left, keyring.Active).ID != next.ID {
		t.Error("the next key did not take over")
	}
	for _, k := range left {
		if k.ID == stolen.ID {
			t.Error("the stolen key is still in the ring")
		}
	}
}

func TestARevocationThatIsNotStoredSaysHowToTryAgain(t *testing.T) {
	dir := t.TempDir()
	stolen := find(t, keys(t, "keygen", "--dir", dir), keyring.Active)
	admin, token, asked := adminStub(t, http.StatusServiceUnavailable,
		`{"error":"temporarily_unavailable","error_description":"try again"}`)
	_, _, err := sallyport("", "keys", "revoke", stolen.ID, "--dir", dir, "--issuer-admin", admin,
		"--token-file", token)
	if err == nil || !strings.Contains(err.Error(), "--removed") ||
		!strings.Contains(err.Error(), "503") ||
		strings.Contains(err.Error(), adminToken) {
		t.Errorf("got: %v", err)
	}
	if len(*asked) != 4 {
		t.Errorf("expected a look and three attempts, got %q", *asked)
	}
	admin, token, asked = adminStub(t, http.StatusAccepted,
		`{"revoked":true,"seq":8,"applied":"2/3","behind":["gate-3"]}`)
	out, _, err := sallyport("", "keys", "revoke", stolen.ID, "--removed", "--dir", dir,
		"--issuer-admin", admin, "--token-file", token)
	if err != nil || !strings.Contains(out, "not yet by gate-3") || len(*asked) != 2 {
		t.Errorf("%v, asked %q\n%s", err, *asked, out)
	}
}

// The key's file is a folder with something in it, which cannot be deleted: the ring is without the
// key, and so the key is revoked.
func TestAKeyWhoseFileStaysIsRevokedAllTheSame(t *testing.T) {
	dir := t.TempDir()
	stolen := find(t, keys(t, "keygen", "--dir", dir), keyring.Active)
	file := filepath.Join(dir, stolen.File)
	if err := errors.Join(os.Remove(file), os.MkdirAll(filepath.Join(file, "x"), 0o700)); err != nil {
		t.Fatal(err)
	}
	admin, token, asked := adminStub(t, http.StatusOK, `{"revoked":true,"seq":7,"applied":"3/3"}`)
	out, _, err := sallyport("", "keys", "revoke", stolen.ID, "--dir", dir, "--issuer-admin",
		admin, "--token-file", token)
	if err != nil || !strings.Contains(out, "its file is still there") ||
		!strings.Contains(out, "revoked everything") ||
		len(*asked) != 2 {
		t.Errorf("%v, asked %q\n%s", err, *asked, out)
	}
	if find(t, keys(t, "keys", "list", "--dir", dir), keyring.Active).ID == stolen.ID {
		t.Error("the stolen key still signs")
	}
}

func TestNothingChangesUnlessBothHalvesCanBeDone(t *testing.T) {
	dir := t.TempDir()
	stolen := find(t, keys(t, "keygen", "--dir", dir), keyring.Active)
	admin, token, asked := adminStub(t, http.StatusOK, `{"revoked":true,"seq":7}`)
	wrong := filepath.Join(t.TempDir(), "token")
	write(t, wrong, "another-token-of-more-than-32-bytes!\n")
	for want, args := range map[string][]string{
		"answered 401":       {stolen.ID, "--issuer-admin", admin, "--token-file", wrong},
		"--token-file":       {stolen.ID, "--issuer-admin", admin},
		"connection refused": {stolen.ID, "--issuer-admin", "http://127.0.0.1:1", "--token-file", token},
		"got \"here\"":       {stolen.ID, "--issuer-admin", "here", "--token-file", token},
		"no-such-key":        {"no-such-key", "--issuer-admin", admin, "--token-file", token},
	} {
		_, _, err := sallyport("", append([]string{"keys", "revoke", "--dir", dir}, args...)...)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("expected %q, got: %v", want, err)
		}
	}
	if find(t, keys(t, "keys", "list", "--dir", dir), keyring.Active).ID != stolen.ID {
		t.Error("the ring has changed")
	}
	for _, request := range *asked {
		if strings.HasPrefix(request, http.MethodPost) {
			t.Errorf("asked %s", request)
		}
	}
}
