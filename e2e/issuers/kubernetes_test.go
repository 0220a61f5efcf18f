//go:build issuers

package issuers_test

import (
	"encoding/base64"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/sallyport/sallyport/internal/eventually"
)

// startKubernetes takes whatever cluster KUBECONFIG leads to. Its service accounts' tokens are
// those of pods, which need not run.
func startKubernetes(t *testing.T) *issuer {
	version, err := os.ReadFile(filepath.Join(installed(t, "kubernetes"), "version"))
	if err != nil {
		t.Fatalf("kubernetes is missing: run `make test-issuers ISSUERS=kubernetes` with KUBECONFIG "+
			"set: %v", err)
	}
	k := &kubernetes{"sallyport-issuers", "sallyport-issuers-two"}
	for _, namespace := range []string{k.namespace, k.other} {
		k.ctl(t, "", "delete", "namespace", namespace, "--ignore-not-found", "--wait")
		k.ctl(t, "", "create", "namespace", namespace)
		t.Cleanup(func() { // the test's context has ended
			_ = exec.Command("kubectl", "delete", "namespace", namespace, "--wait=false").Run()
		})
		for _, user := range []string{"alice", "bob", "carol", "dave", "gate"} {
			k.account(t, namespace, user)
		}
	}
	var metadata struct {
		Issuer string `json:"issuer"`
	}
	if err := json.Unmarshal(k.ctl(t, "", "get", "--raw", "/.well-known/openid-configuration"),
		&metadata); err != nil {
		t.Fatal(err)
	}
	files := t.TempDir()
	write := func(name string, content []byte) string {
		file := filepath.Join(files, name)
		if err := os.WriteFile(file, content, 0o600); err != nil {
			t.Fatal(err)
		}
		return file
	}
	server, ca := k.server(t)
	caFile := write("ca.crt", ca)
	token := write("token", k.ctl(t, "", "create", "token", "gate", "-n", k.namespace))
	keys := write("keys.json", k.ctl(t, "", "get", "--raw", "/openid/v1/jwks"))

	entry := example(t, "issuers", "kubernetes",
		"https://kubernetes.default.svc.cluster.local", metadata.Issuer,
		"https://kubernetes.default.svc/", server+"/",
		"/var/run/secrets/kubernetes.io/serviceaccount/ca.crt", caFile,
		"/var/run/secrets/kubernetes.io/serviceaccount/token", token)
	// What the example says besides, where no token is to be had.
	asFile := entry
	for _, line := range []string{"  jwks_token_file: " + token, "  ca_file: " + caFile} {
		asFile = strings.Replace(asFile, line+"\n", "", 1)
	}
	return &issuer{
		name: "kubernetes", version: "Kubernetes " + strings.TrimSpace(string(version)),
		iss: metadata.Issuer, entry: entry,
		variants: map[string]string{
			"the keys in a file": keySetLine.ReplaceAllString(asFile, "  jwks_file: "+keys+"\n"),
		},
		login: func(t *testing.T, user string) handed {
			namespace := k.namespace
			if user == "carol" || user == "dave" {
				namespace = k.other
			}
			access := k.token(t, namespace, user, "orders")
			return handed{
				access: access, subject: "system:serviceaccount:" + namespace + ":" + user,
				session: string(k.ctl(t, "", "get", "pod", user, "-n", namespace,
					"-o", "jsonpath={.metadata.uid}")),
				tenant: namespace,
			}
		},
		wrong: []wrongToken{
			{"wrong audience", func(t *testing.T) string {
				return k.token(t, k.namespace, "alice", "billing")
			}, []string{"audience"}},
			{"for the API server", func(t *testing.T) string { return k.alice(t) }, []string{"audience"}},
			{"of a Secret", func(t *testing.T) string { return k.legacy(t) }, []string{"unknown_issuer"}},
		},
		revocable: []string{"jti", "sid", "kid", "sub", "tenant"},
		tokens: func(t *testing.T) map[string]string {
			return map[string]string{
				"access":         k.token(t, k.namespace, "alice", "orders"),
				"access-no-pod":  k.alice(t, "--audience", "orders"),
				"access-default": k.alice(t),
				"access-secret":  k.legacy(t),
			}
		},
		documents: map[string]func(*testing.T) []byte{
			"jwks": func(t *testing.T) []byte { return k.ctl(t, "", "get", "--raw", "/openid/v1/jwks") },
			"discovery": func(t *testing.T) []byte {
				return k.ctl(t, "", "get", "--raw", "/.well-known/openid-configuration")
			},
		},
	}
}

type kubernetes struct{ namespace, other string }

// ctl runs kubectl, with input unless that is empty, and returns what it prints.
func (k *kubernetes) ctl(t *testing.T, input string, args ...string) []byte {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "kubectl", args...)
	cmd.Stdin = strings.NewReader(input)
	out, err := cmd.Output()
	if err != nil {
		var said string
		if exit, ok := err.(*exec.ExitError); ok {
			said = string(exit.Stderr)
		}
		t.Fatalf("kubectl %s: %v\n%s", strings.Join(args, " "), err, said)
	}
	return []byte(strings.TrimRight(string(out), "\n"))
}

// account makes a service account, and a pod of it that need not run.
func (k *kubernetes) account(t *testing.T, namespace, name string) {
	t.Helper()
	k.ctl(t, `
apiVersion: v1
kind: ServiceAccount
metadata: {name: `+name+`, namespace: `+namespace+`}
---
apiVersion: v1
kind: Pod
metadata: {name: `+name+`, namespace: `+namespace+`}
spec:
  serviceAccountName: `+name+`
  automountServiceAccountToken: false
  nodeSelector: {sallyport.test/no-such-node: "true"}
  containers: [{name: none, image: none.invalid/none}]
`, "apply", "-f", "-")
}

func (k *kubernetes) token(t *testing.T, namespace, user, audience string) string {
	t.Helper()
	return string(k.ctl(t, "", "create", "token", user, "-n", namespace, "--audience", audience,
		"--duration", "1h", "--bound-object-kind", "Pod", "--bound-object-name", user))
}

// alice returns a token of hers that is not bound to a pod.
func (k *kubernetes) alice(t *testing.T, args ...string) string {
	t.Helper()
	args = append([]string{"create", "token", "alice", "-n", k.namespace}, args...)
	return string(k.ctl(t, "", args...))
}

// legacy returns the token of a Secret, which lives for ever.
func (k *kubernetes) legacy(t *testing.T) string {
	t.Helper()
	k.ctl(t, `
apiVersion: v1
kind: Secret
type: kubernetes.io/service-account-token
metadata:
  name: alice
  namespace: `+k.namespace+`
  annotations: {kubernetes.io/service-account.name: alice}
`, "apply", "-f", "-")
	var token []byte
	eventually.True(t, "the Secret to have a token", func() bool {
		encoded := k.ctl(t, "", "get", "secret", "alice", "-n", k.namespace,
			"-o", "jsonpath={.data.token}")
		token, _ = base64.StdEncoding.DecodeString(string(encoded))
		return len(token) > 0
	})
	return string(token)
}

// server returns the API server's address and the authority that it is to be trusted by.
func (k *kubernetes) server(t *testing.T) (address string, ca []byte) {
	t.Helper()
	var config struct {
		Clusters []struct {
			Cluster struct {
				Server string `json:"server"`
				CA     []byte `json:"certificate-authority-data"`
			} `json:"cluster"`
		} `json:"clusters"`
	}
	shown := k.ctl(t, "", "config", "view", "--raw", "--minify", "--flatten", "-o", "json")
	if err := json.Unmarshal(shown, &config); err != nil {
		t.Fatal(err)
	}
	if len(config.Clusters) != 1 {
		t.Fatalf("expected one cluster in KUBECONFIG's context, got %d", len(config.Clusters))
	}
	return strings.TrimSuffix(config.Clusters[0].Cluster.Server, "/"), config.Clusters[0].Cluster.CA
}
