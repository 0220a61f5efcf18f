package tools

import (
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"
)

// envoyBinary is the real Envoy that `make envoy` puts into .tools.
func envoyBinary(t *testing.T) string {
	t.Helper()
	found, err := filepath.Glob(filepath.Join(root, ".tools/venv/lib/python3*/site-packages/envoy/_bin/envoy"))
	if err != nil {
		t.Fatal(err)
	}
	if len(found) == 0 {
		t.Fatal("no envoy in .tools: run `make envoy`")
	}
	return found[0]
}

// TestEnvoyAcceptsItsConfiguration and finds nothing in it that a later release will drop.
func TestEnvoyAcceptsItsConfiguration(t *testing.T) {
	out, err := exec.CommandContext(t.Context(), envoyBinary(t), "--mode", "validate", "--use-dynamic-base-id", "-l", "warning",
		"-c", filepath.Join(root, "deploy/config/envoy.yaml")).CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if strings.Contains(strings.ToLower(string(out)), "deprecated") {
		t.Errorf("it uses deprecated settings:\n%s", out)
	}
}

// manager gives the connection manager of the listener by that name.
func manager(t *testing.T, listener string) map[string]any {
	t.Helper()
	var whole map[string]any
	if err := yaml.Unmarshal([]byte(readFile(t, "deploy/config/envoy.yaml")), &whole); err != nil {
		t.Fatal(err)
	}
	for _, l := range dig(t, whole, "static_resources", "listeners").([]any) {
		if dig(t, l, "name") == listener {
			chain := dig(t, l, "filter_chains").([]any)[0]
			return dig(t, dig(t, chain, "filters").([]any)[0], "typed_config").(map[string]any)
		}
	}
	t.Fatalf("no listener %s", listener)
	return nil
}

// dig follows keys into nested maps.
func dig(t *testing.T, value any, keys ...string) any {
	t.Helper()
	for _, key := range keys {
		m, ok := value.(map[string]any)
		if !ok || m[key] == nil {
			t.Fatalf("there is no %s of %v", key, keys)
		}
		value = m[key]
	}
	return value
}

// TestNothingPassesWithoutAGate: only the issuer's own paths skip the gates, and no answer is a refusal.
func TestNothingPassesWithoutAGate(t *testing.T) {
	m := manager(t, "gateway")
	var ungated []string
	hosts := dig(t, m, "route_config", "virtual_hosts").([]any)
	if len(hosts) != 1 {
		t.Errorf("%d virtual hosts, expected one", len(hosts))
	}
	for _, r := range dig(t, hosts[0], "routes").([]any) {
		cluster := dig(t, r, "route", "cluster")
		overrides, exempt := r.(map[string]any)["typed_per_filter_config"]
		if exempt {
			if dig(t, overrides, "envoy.filters.http.ext_authz", "disabled") != true {
				t.Errorf("an override that is not `disabled`: %v", overrides)
			}
			match := dig(t, r, "match").(map[string]any)
			path, _ := match["path"].(string)
			prefix, _ := match["prefix"].(string)
			ungated = append(ungated, path+prefix)
		}
		if exempt != (cluster == "issuer") {
			t.Errorf("route %v to %s: exempt from the gates is %v", dig(t, r, "match"), cluster, exempt)
		}
	}
	if want := []string{"/login", "/refresh", "/logout", "/.well-known/"}; !slices.Equal(ungated, want) {
		t.Errorf("exempt from the gates: %v, expected %v", ungated, want)
	}
	filters := dig(t, m, "http_filters").([]any)
	if len(filters) != 2 || dig(t, filters[0], "name") != "envoy.filters.http.ext_authz" {
		t.Fatalf("http_filters: %v, expected ext_authz and the router", filters)
	}
	gate := dig(t, filters[0], "typed_config").(map[string]any)
	if gate["failure_mode_allow"] != false {
		t.Error("failure_mode_allow is not false: a request passes when no gate answers")
	}
	if got := dig(t, gate, "status_on_error", "code"); got != "ServiceUnavailable" {
		t.Errorf("status_on_error is %v, expected ServiceUnavailable", got)
	}
	for _, key := range []string{"normalize_path", "merge_slashes", "use_remote_address"} {
		if m[key] != true {
			t.Errorf("%s is %v, expected true", key, m[key])
		}
	}
	if got := m["path_with_escaped_slashes_action"]; got != "REJECT_REQUEST" {
		t.Errorf("path_with_escaped_slashes_action is %v", got)
	}
}

// TestEnvoysAdminPortIsItsOwn: it is on loopback, and of it only readiness and metrics are shown further.
func TestEnvoysAdminPortIsItsOwn(t *testing.T) {
	var whole map[string]any
	if err := yaml.Unmarshal([]byte(readFile(t, "deploy/config/envoy.yaml")), &whole); err != nil {
		t.Fatal(err)
	}
	if got := dig(t, whole, "admin", "address", "socket_address", "address"); got != "127.0.0.1" {
		t.Errorf("the admin port listens on %v", got)
	}
	var shown []string
	host := dig(t, manager(t, "status"), "route_config", "virtual_hosts").([]any)[0]
	for _, r := range dig(t, host, "routes").([]any) {
		shown = append(shown, dig(t, r, "match", "path").(string))
	}
	if want := []string{"/ready", "/stats/prometheus"}; !slices.Equal(shown, want) {
		t.Errorf("shown of the admin port: %v, expected %v", shown, want)
	}
}
