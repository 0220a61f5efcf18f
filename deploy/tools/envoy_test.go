package tools

import (
	"debug/elf"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"
)

// envoyBinary is the real Envoy that `make envoy` puts into .tools.
func envoyBinary(t *testing.T) string {
	t.Helper()
	found, err := filepath.Glob(
		filepath.Join(root, ".tools/venv/lib/python3*/site-packages/envoy/_bin/envoy"))
	if err != nil {
		t.Fatal(err)
	}
	if len(found) == 0 {
		t.Fatal("no envoy in .tools: run `make envoy`")
	}
	return found[0]
}

// Envoy's settings, with the gate beside it and inside it.
const (
	envoyBeside = "deploy/config/envoy.yaml"
	envoyInside = "deploy/config/envoy-in-process.yaml"
)

// TestEnvoyAcceptsItsConfiguration and finds nothing in it that a later release will drop. The gate
// inside accepts its own.
func TestEnvoyAcceptsItsConfiguration(t *testing.T) {
	insideHere := filepath.Join(t.TempDir(), "envoy.yaml")
	text := strings.NewReplacer("/usr/lib/libsallyport.so", module(t), "/etc/sallyport/authz.yaml",
		localise(t, "authz.yaml")).Replace(readFile(t, envoyInside))
	if err := os.WriteFile(insideHere, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, file := range []string{filepath.Join(root, envoyBeside), insideHere} {
		out, err := exec.CommandContext(t.Context(), envoyBinary(t), "--mode", "validate",
			"--use-dynamic-base-id", "-l", "warning", "-c", file).CombinedOutput()
		if err != nil {
			t.Fatalf("%s: %v\n%s", file, err, out)
		}
		if strings.Contains(strings.ToLower(string(out)), "deprecated") {
			t.Errorf("%s uses deprecated settings:\n%s", file, out)
		}
	}
}

// TestTheModuleNeedsNoNewerGlibc than the one that the docs and the image's build name.
func TestTheModuleNeedsNoNewerGlibc(t *testing.T) {
	file, err := elf.Open(module(t))
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	needs, err := file.DynamicVersionNeeds()
	if err != nil {
		t.Fatal(err)
	}
	seen := 0
	for _, library := range needs {
		for _, version := range library.Needs {
			number, ok := strings.CutPrefix(version.Dep, "GLIBC_")
			if !ok {
				t.Errorf("it needs %s of %s", version.Dep, library.Name)
				continue
			}
			seen++
			var major, minor int
			if _, err := fmt.Sscanf(number, "%d.%d", &major, &minor); err != nil || major != 2 ||
				minor > 34 {
				t.Errorf("it needs %s: %v", version.Dep, err)
			}
		}
	}
	if seen == 0 {
		t.Error("it needs nothing of glibc: the search does not see what it should")
	}
	for _, name := range []string{"docs/in-process.md", "deploy/in-process/Dockerfile"} {
		if !strings.Contains(readFile(t, name), "2.34") {
			t.Errorf("%s does not name glibc 2.34", name)
		}
	}
}

// TestTheTwoEnvoysDifferInTheGateAlone: who changes one of the files changes the other.
func TestTheTwoEnvoysDifferInTheGateAlone(t *testing.T) {
	ofGate := map[string]func(map[string]any){
		envoyBeside: func(m map[string]any) { m["http_filters"] = m["http_filters"].([]any)[1:] },
		envoyInside: func(m map[string]any) {
			if m["delayed_close_timeout"] != "0.01s" {
				t.Errorf("delayed_close_timeout is %v: a client hears late that its stream has ended",
					m["delayed_close_timeout"])
			}
			delete(m, "delayed_close_timeout")
			m["http_filters"] = m["http_filters"].([]any)[1:]
			format := dig(t, dig(t, m, "access_log").([]any)[0], "typed_config", "log_format",
				"json_format").(map[string]any)
			delete(format, "ended")
		},
	}
	var rest []map[string]any
	for _, file := range []string{envoyBeside, envoyInside} {
		whole := parsed(t, file)
		delete(whole, "bootstrap_extensions")
		resources := dig(t, whole, "static_resources").(map[string]any)
		resources["clusters"] = slices.DeleteFunc(resources["clusters"].([]any),
			func(c any) bool { return dig(t, c, "name") == "authz" })
		m := managerIn(t, whole, "gateway")
		ofGate[file](m)
		replies := dig(t, m, "local_reply_config").(map[string]any)
		mappers := replies["mappers"].([]any)
		replies["mappers"] = mappers[len(mappers)-1:] // before it: of a gate that does not answer
		for _, r := range dig(t, dig(t, m, "route_config", "virtual_hosts").([]any)[0],
			"routes").([]any) {
			if overrides, ok := r.(map[string]any)["typed_per_filter_config"].(map[string]any); ok {
				delete(overrides, "envoy.filters.http.ext_authz")
				delete(overrides, "sallyport")
			}
		}
		rest = append(rest, whole)
	}
	if !reflect.DeepEqual(rest[0], rest[1]) {
		t.Errorf("expected the same but for the gate:\n%s", differing(t, rest[0], rest[1]))
	}
}

// differing returns the lines, as YAML has them, that one of two has and the other has not.
func differing(t *testing.T, one, other any) string {
	t.Helper()
	var said strings.Builder
	lines := func(v any) []string {
		text, err := yaml.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		return strings.Split(string(text), "\n")
	}
	ours, theirs := lines(one), lines(other)
	for sign, pair := range map[string][2][]string{"-": {ours, theirs}, "+": {theirs, ours}} {
		for _, line := range pair[0] {
			if !slices.Contains(pair[1], line) {
				said.WriteString(sign + line + "\n")
			}
		}
	}
	return said.String()
}

func parsed(t *testing.T, file string) map[string]any {
	t.Helper()
	var whole map[string]any
	if err := yaml.Unmarshal([]byte(readFile(t, file)), &whole); err != nil {
		t.Fatal(err)
	}
	return whole
}

// manager returns the connection manager of the listener by that name.
func manager(t *testing.T, file, listener string) map[string]any {
	t.Helper()
	return managerIn(t, parsed(t, file), listener)
}

func managerIn(t *testing.T, whole map[string]any, listener string) map[string]any {
	t.Helper()
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

// TestNothingPassesWithoutAGate: only the issuer's own paths skip the gates, and no answer is a
// refusal.
func TestNothingPassesWithoutAGate(t *testing.T) {
	filters := nothingPasses(t, envoyBeside, "envoy.filters.http.ext_authz", func(override any) bool {
		return dig(t, override, "disabled") == true
	})
	gate := dig(t, filters[0], "typed_config").(map[string]any)
	if gate["failure_mode_allow"] != false {
		t.Error("failure_mode_allow is not false: a request passes when no gate answers")
	}
	if got := dig(t, gate, "status_on_error", "code"); got != "ServiceUnavailable" {
		t.Errorf("status_on_error is %v, expected ServiceUnavailable", got)
	}
	nothingPasses(t, envoyInside, "sallyport", func(override any) bool {
		return dig(t, override, "filter_config", "value") == "off"
	})
}

// nothingPasses looks at a file whose gate is the filter by that name; off reports whether a
// route's override turns it off. It returns all filters.
func nothingPasses(t *testing.T, file, filter string, off func(override any) bool) []any {
	t.Helper()
	m := manager(t, file, "gateway")
	var ungated []string
	hosts := dig(t, m, "route_config", "virtual_hosts").([]any)
	if len(hosts) != 1 {
		t.Errorf("%d virtual hosts, expected one", len(hosts))
	}
	for _, r := range dig(t, hosts[0], "routes").([]any) {
		cluster := dig(t, r, "route", "cluster")
		overrides, _ := r.(map[string]any)["typed_per_filter_config"].(map[string]any)
		override, exempt := overrides[filter]
		if exempt {
			if !off(override) {
				t.Errorf("an override that does not turn the gate off: %v", overrides)
			}
			limit := dig(t, overrides, "envoy.filters.http.buffer", "buffer", "max_request_bytes")
			if limit != float64(64<<10) {
				t.Errorf("the issuer takes bodies of %v bytes, expected 64 KiB", limit)
			}
			match := dig(t, r, "match").(map[string]any)
			path, _ := match["path"].(string)
			prefix, _ := match["prefix"].(string)
			ungated = append(ungated, path+prefix)
		}
		if exempt != (cluster == "issuer" || cluster == "logout") {
			t.Errorf("route %v to %s: exempt from the gates is %v", dig(t, r, "match"), cluster, exempt)
		}
	}
	// What other issuers send is judged by its signature, at the issuer.
	want := []string{
		"/login", "/refresh", "/.well-known/", "/logout", "/backchannel-logout", "/security-events",
	}
	if !slices.Equal(ungated, want) {
		t.Errorf("exempt from the gates: %v, expected %v", ungated, want)
	}
	filters := dig(t, m, "http_filters").([]any)
	if len(filters) != 3 || dig(t, filters[0], "name") != filter ||
		dig(t, filters[1], "name") != "envoy.filters.http.buffer" {
		t.Fatalf("http_filters: %v, expected the gate, the buffer and the router", filters)
	}
	for _, key := range []string{"normalize_path", "merge_slashes", "use_remote_address"} {
		if m[key] != true {
			t.Errorf("%s is %v, expected true", key, m[key])
		}
	}
	if got := m["path_with_escaped_slashes_action"]; got != "REJECT_REQUEST" {
		t.Errorf("path_with_escaped_slashes_action is %v", got)
	}
	return filters
}

// TestEnvoySaysThatItStripsBehindAllThatStrips: the gates that are shipped with it refuse whatever
// lacks the mark, which a pattern behind it would remove, and one before it would not cover.
func TestEnvoySaysThatItStripsBehindAllThatStrips(t *testing.T) {
	const mark = "x-sallyport-stripped"
	m := manager(t, envoyBeside, "gateway")
	marked, patterns := false, 0
	for _, mutation := range mutations(t, m) {
		entry := mutation.(map[string]any)
		switch {
		case entry["remove_on_match"] != nil && marked:
			t.Errorf("a pattern stands behind the mark: %v", entry)
		case entry["remove_on_match"] != nil:
			patterns++
		case entry["append"] != nil:
			marked = dig(t, entry, "append", "header", "key") == mark &&
				dig(t, entry, "append", "header", "value") == "1" &&
				// in place of any that a client has sent
				dig(t, entry, "append", "append_action") == "OVERWRITE_IF_EXISTS_OR_ADD"
		}
	}
	if !marked || patterns == 0 {
		t.Errorf("marked %v behind %d patterns", marked, patterns)
	}
	gate := dig(t, dig(t, m, "http_filters").([]any)[0], "typed_config")
	shown := slices.ContainsFunc(dig(t, gate, "allowed_headers", "patterns").([]any),
		func(pattern any) bool { return pattern.(map[string]any)["exact"] == mark })
	if !shown {
		t.Error("the gate is not shown the mark")
	}
	var authz map[string]any
	if err := yaml.Unmarshal([]byte(readFile(t, "deploy/config/authz.yaml")), &authz); err != nil {
		t.Fatal(err)
	}
	if got := dig(t, authz, "ext_authz", "strip"); got != "envoy" {
		t.Errorf("ext_authz.strip is %v, expected envoy", got)
	}
}

// TestEnvoysAdminPortIsItsOwn: it is on loopback, and of it only readiness and metrics are shown
// further.
func TestEnvoysAdminPortIsItsOwn(t *testing.T) {
	whole := parsed(t, envoyBeside)
	if got := dig(t, whole, "admin", "address", "socket_address", "address"); got != "127.0.0.1" {
		t.Errorf("the admin port listens on %v", got)
	}
	var shown []string
	host := dig(t, managerIn(t, whole, "status"), "route_config", "virtual_hosts").([]any)[0]
	for _, r := range dig(t, host, "routes").([]any) {
		shown = append(shown, dig(t, r, "match", "path").(string))
	}
	if want := []string{"/ready", "/stats/prometheus"}; !slices.Equal(shown, want) {
		t.Errorf("shown of the admin port: %v, expected %v", shown, want)
	}
}

// TestEveryRouteIsBoundedOrAStream: what is no stream is over within minutes, whatever a client
// does; what is one has no time of its own, and no body is waited for.
func TestEveryRouteIsBoundedOrAStream(t *testing.T) {
	m := manager(t, envoyBeside, "gateway")
	host := dig(t, m, "route_config", "virtual_hosts").([]any)[0]
	for _, r := range dig(t, host, "routes").([]any) {
		match, route := dig(t, r, "match"), dig(t, r, "route").(map[string]any)
		overrides, _ := r.(map[string]any)["typed_per_filter_config"].(map[string]any)
		buffer, _ := overrides["envoy.filters.http.buffer"].(map[string]any)
		streams := strings.HasSuffix(route["cluster"].(string), "_grpc") || route["timeout"] == "0s"
		switch {
		case streams && (route["timeout"] != "0s" || route["max_stream_duration"] != nil ||
			buffer["disabled"] != true):
			t.Errorf("%v: a stream with a limit: %v, %v", match, route, overrides)
		case !streams && (route["idle_timeout"] == nil || route["max_stream_duration"] == nil):
			t.Errorf("%v: a request without limits: %v", match, route)
		case !streams && route["timeout"] != nil:
			t.Errorf("%v: Envoy ignores the timeout of a route that has max_stream_duration: %v",
				match, route)
		}
	}
	// Per route there are better ones: it would end a gRPC stream whose response has not begun.
	if m["request_timeout"] != "0s" {
		t.Errorf("request_timeout is %v", m["request_timeout"])
	}
}

// TestListenersAnswerOnIPv4AndIPv6, and clients that take all connections leave the status listener
// alone.
func TestListenersAnswerOnIPv4AndIPv6(t *testing.T) {
	for _, l := range dig(t, parsed(t, envoyBeside), "static_resources", "listeners").([]any) {
		name, at := dig(t, l, "name"), dig(t, l, "address", "socket_address").(map[string]any)
		if at["address"] != "::" || at["ipv4_compat"] != true {
			t.Errorf("%v listens on %v", name, at)
		}
		spared := l.(map[string]any)["ignore_global_conn_limit"] == true &&
			l.(map[string]any)["bypass_overload_manager"] == true
		if spared != (name == "status") {
			t.Errorf("%v is spared by the limits: %v", name, spared)
		}
	}
}

// TestTheUpstreamsAddressStandsOnce: who changes it changes it for every kind of request.
func TestTheUpstreamsAddressStandsOnce(t *testing.T) {
	for file, addresses := range map[string][]string{
		envoyBeside: {"address: upstream,", "address: issuer,", "address: authz,"},
		envoyInside: {"address: upstream,", "address: issuer,"},
	} {
		content := readFile(t, file)
		for _, address := range addresses {
			if n := strings.Count(content, address); n != 1 {
				t.Errorf("%s: %q stands %d times", file, address, n)
			}
		}
	}
}

// TestAGateThatIsNotReadyIsLeftOutWhileAnotherIs: by default Envoy asks all of them once fewer than
// half are ready, and every request that meets the wrong one is refused with 503.
func TestAGateThatIsNotReadyIsLeftOutWhileAnotherIs(t *testing.T) {
	var c struct {
		Static struct {
			Clusters []struct {
				Name   string
				Common struct {
					Panic struct{ Value float64 } `json:"healthy_panic_threshold"`
				} `json:"common_lb_config"`
			}
		} `json:"static_resources"`
	}
	if err := yaml.Unmarshal([]byte(readFile(t, "deploy/config/envoy.yaml")), &c); err != nil {
		t.Fatal(err)
	}
	for _, cluster := range c.Static.Clusters {
		if cluster.Name != "authz" {
			continue
		}
		// 0 would ask nobody when none is ready, so that public routes were refused too; up to 99
		// gates, 1 leaves one alone.
		if cluster.Common.Panic.Value != 1 {
			t.Errorf("healthy_panic_threshold is %v, expected 1", cluster.Common.Panic.Value)
		}
		return
	}
	t.Error("there is no cluster authz")
}
