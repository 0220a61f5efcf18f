package e2e_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/sallyport/sallyport/internal/mesh"
)

// decode reads a token's header and claims without any check.
func decode(t *testing.T, token string) (head, claims map[string]any) {
	t.Helper()
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		t.Fatalf("a token of %d parts", len(parts))
	}
	for i, into := range []*map[string]any{&head, &claims} {
		content, err := base64.RawURLEncoding.DecodeString(parts[i])
		if err == nil {
			err = json.Unmarshal(content, into)
		}
		if err != nil {
			t.Fatalf("part %d of a token: %v", i+1, err)
		}
	}
	return head, claims
}

// sign makes an ES256 token of any header and claims, as a thief of the key could. The numbers are
// written whole: a gate refuses 1.7e9 as a date.
func sign(t *testing.T, key *ecdsa.PrivateKey, head, claims map[string]any) string {
	t.Helper()
	input := encode(t, head) + "." + encode(t, claims)
	digest := sha256.Sum256([]byte(input))
	r, s, err := ecdsa.Sign(rand.Reader, key, digest[:])
	if err != nil {
		t.Fatal(err)
	}
	signature := make([]byte, 64)
	r.FillBytes(signature[:32])
	s.FillBytes(signature[32:])
	return input + "." + base64.RawURLEncoding.EncodeToString(signature)
}

func encode(t *testing.T, object map[string]any) string {
	t.Helper()
	whole := make(map[string]any, len(object))
	for name, value := range object {
		if number, ok := value.(float64); ok {
			value = json.Number(strconv.FormatInt(int64(number), 10))
		}
		whole[name] = value
	}
	content, err := json.Marshal(whole)
	if err != nil {
		t.Fatal(err)
	}
	return base64.RawURLEncoding.EncodeToString(content)
}

// signingKey finds the private key of that kid in the demo's key folder.
func signingKey(t *testing.T, dir, kid string) *ecdsa.PrivateKey {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "*.pem"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no PEM files in %s (%v)", dir, err)
	}
	for _, file := range files {
		content, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		block, _ := pem.Decode(content)
		if block == nil || !strings.Contains(filepath.Base(file), kid) {
			continue
		}
		parsed, err := x509.ParsePKCS8PrivateKey(block.Bytes)
		if err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		if key, ok := parsed.(*ecdsa.PrivateKey); ok {
			return key
		}
	}
	t.Fatalf("no key %s in %s", kid, dir)
	return nil
}

// flip changes one bit of the token's last part that no encoding ignores.
func flip(token string) string {
	at := strings.LastIndexByte(token, '.') + 5
	other := byte('A')
	if token[at] == other {
		other = 'B'
	}
	return token[:at] + string(other) + token[at+1:]
}

func user(t *testing.T, s stack, name string) mesh.User {
	t.Helper()
	for _, u := range s.Endpoints().Users {
		if u.Name == name {
			return u
		}
	}
	t.Fatalf("no user %s", name)
	return mesh.User{}
}

// metric reads one figure of a Prometheus page, summed over its labels.
func metric(t *testing.T, admin *caller, name string) float64 {
	t.Helper()
	sum, found := 0.0, false
	for line := range bytes.Lines(admin.get(t, "/metrics").body) {
		series, value, ok := strings.Cut(strings.TrimSpace(string(line)), " ")
		if bare, _, _ := strings.Cut(series, "{"); !ok || bare != name {
			continue
		}
		figure, err := strconv.ParseFloat(value, 64)
		if err != nil {
			t.Fatal(err)
		}
		sum, found = sum+figure, true
	}
	if !found {
		t.Fatalf("no metric %s", name)
	}
	return sum
}
