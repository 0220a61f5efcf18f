package world

import (
	"encoding/json"
	"os"
	"strings"
	"testing"
)

// TestAllWaysAreTheShippedOneButForWhoIsAsked: else a ratio would be that of two configurations.
func TestAllWaysAreTheShippedOneButForWhoIsAsked(t *testing.T) {
	text, err := os.ReadFile("../../" + shipped)
	if err != nil {
		t.Fatal(err)
	}
	one, other := &Server{Unix: "unix:/tmp/one"}, &Server{TCP: "127.0.0.1:2"}
	got, err := envoyConfig(text, []byte(`{"keys":[]}`), "127.0.0.1:9", nil, []*Way{
		{Name: "one", Ask: one, Unix: true, Address: "127.0.0.1:1"},
		{Name: "other", Ask: other, Address: "127.0.0.1:1"},
		{Name: "jwt", JWT: true, Cache: true, Address: "127.0.0.1:1"},
		{Name: "nobody", Address: "127.0.0.1:1"},
	})
	if err != nil {
		t.Fatal(err)
	}
	resources := got["static_resources"].(object)
	var listeners []string
	for i, l := range resources["listeners"].([]any) {
		asJSON, err := json.Marshal(l)
		if err != nil {
			t.Fatal(err)
		}
		listener := strings.ReplaceAll(string(asJSON), cluster(i), "ASKED")
		listeners = append(listeners, strings.Replace(listener, `"way-`+string(rune('0'+i)), `"way-N`, 1))
	}
	if listeners[0] != listeners[1] {
		t.Errorf("expected two servers to be asked in the same way, got\n%s\n%s", listeners[0],
			listeners[1])
	}
	for i, l := range listeners {
		for part, in := range map[string]bool{
			"early_header_mutation_extensions":            true,
			"normalize_path":                              true,
			"access_log\"":                                false,
			"envoy.filters.http.ext_authz\"":              i < 2,
			"\"allowed_headers\"":                         i < 2,
			"\"envoy_grpc\":{\"cluster_name\":\"ASKED\"}": i < 2,
			"envoy.filters.http.jwt_authn\"":              i == 2,
			"jwt_cache_size":                              i == 2,
		} {
			if strings.Contains(l, part) != in {
				t.Errorf("way %d: expected %s: %v, got\n%s", i, part, in, l)
			}
		}
	}
	clusters, err := json.Marshal(resources["clusters"])
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		`{"pipe":{"path":"/tmp/one"}}`, `"port_value":2`, `"grpc_health_check"`, `"http2_protocol_options"`,
	} {
		if !strings.Contains(string(clusters), want) {
			t.Errorf("expected %s in %s", want, clusters)
		}
	}
}

func TestAnEnvoyThatAsksNobodyIsNotMeasuredAsTheShippedOne(t *testing.T) {
	for _, text := range []string{
		"", "static_resources: {}",
		"static_resources: {listeners: [{filter_chains: [{filters: [{typed_config: {a: 1}}]}]}]}",
	} {
		_, err := envoyConfig([]byte(text), nil, "127.0.0.1:9", nil, []*Way{{Address: "127.0.0.1:1"}})
		if err == nil {
			t.Errorf("%q: expected an error", text)
		}
	}
}
