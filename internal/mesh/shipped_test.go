package mesh

import (
	"os"
	"reflect"
	"slices"
	"testing"

	"github.com/goccy/go-yaml"
)

// shippedConfig has what users of containers run; the demo's files are to be no other, but for
// addresses.
const shippedConfig = "../../deploy/config/"

// envoySettings is a file's listener of the gateway and its clusters.
type envoySettings struct {
	Resources struct {
		Listeners []struct {
			Name   string `yaml:"name"`
			Buffer int    `yaml:"per_connection_buffer_limit_bytes"`
			Chains []struct {
				Filters []struct {
					Config map[string]any `yaml:"typed_config"`
				} `yaml:"filters"`
			} `yaml:"filter_chains"`
		} `yaml:"listeners"`
		Clusters []map[string]any `yaml:"clusters"`
	} `yaml:"static_resources"`
	Overload  map[string]any   `yaml:"overload_manager"`
	Bootstrap []map[string]any `yaml:"bootstrap_extensions"`
}

func readSettings(t *testing.T, content []byte) envoySettings {
	t.Helper()
	var s envoySettings
	if err := yaml.Unmarshal(content, &s); err != nil {
		t.Fatal(err)
	}
	return s
}

// TestTheDemosEnvoyIsTheOneThatIsShipped, but for addresses and what is known to differ: with the
// gate beside it, and with the gate inside.
func TestTheDemosEnvoyIsTheOneThatIsShipped(t *testing.T) {
	t.Run("beside", func(t *testing.T) {
		demoIsShipped(t, "envoy.yaml", rendered(t, 2, 2))
	})
	t.Run("inside", func(t *testing.T) {
		demoIsShipped(t, "envoy-in-process.yaml", rendered(t, 2, 1, func(s *settings) {
			s.Module, s.AuthzFile = "/usr/lib/"+ModuleFile, "/etc/sallyport/authz.yaml"
		}))
	})
}

func demoIsShipped(t *testing.T, file string, files map[string]string) {
	t.Helper()
	content, err := os.ReadFile(shippedConfig + file)
	if err != nil {
		t.Fatal(err)
	}
	shipped, demo := readSettings(t, content), readSettings(t, []byte(files[envoyFile]))
	same(t, "overload_manager", demo.Overload, shipped.Overload)
	if !reflect.DeepEqual(demo.Bootstrap, shipped.Bootstrap) {
		t.Errorf("bootstrap_extensions are\n%v, shipped is\n%v", demo.Bootstrap, shipped.Bootstrap)
	}
	same(t, "the gateway", gatewayOf(t, demo), gatewayOf(t, shipped))
	theirs := map[string]map[string]any{}
	for _, c := range shipped.Resources.Clusters {
		theirs[c["name"].(string)] = c
	}
	delete(theirs, "admin") // for the status listener, which the demo has no use for
	for _, c := range demo.Resources.Clusters {
		name := c["name"].(string)
		other := theirs[name]
		delete(theirs, name)
		for _, own := range []string{"type", "cluster_type", "load_assignment"} {
			delete(c, own)
			delete(other, own)
		}
		if name == "issuer" || name == "logout" { // the demo's Envoy reaches the issuers' admin ports
			delete(c, "health_checks")
			delete(c, "common_lb_config")
		}
		same(t, "cluster "+name, c, other)
	}
	if len(theirs) > 0 {
		t.Errorf("the demo lacks clusters: %v", theirs)
	}
}

// gatewayOf returns the settings of the gateway's connection manager that are to be the same.
func gatewayOf(t *testing.T, s envoySettings) map[string]any {
	t.Helper()
	gateway := s.Resources.Listeners[0]
	manager := gateway.Chains[0].Filters[0].Config
	manager["per_connection_buffer_limit_bytes"] = gateway.Buffer
	delete(manager, "access_log")
	config := func(list string) map[string]any {
		return manager[list].([]any)[0].(map[string]any)["typed_config"].(map[string]any)
	}
	early := config("early_header_mutation_extensions")
	early["mutations"] = slices.DeleteFunc(early["mutations"].([]any), func(m any) bool {
		// Nobody stands before the demo's Envoy but who plays with it.
		return m.(map[string]any)["remove"] == "x-forwarded-for"
	})
	check := config("http_filters")
	delete(check, "encode_raw_headers")
	if allowed, beside := check["allowed_headers"].(map[string]any); beside {
		for _, pattern := range allowed["patterns"].([]any) {
			delete(pattern.(map[string]any), "ignore_case") // header names have none at Envoy
		}
	}
	return manager
}

// same compares settings by name, so that what differs is named.
func same(t *testing.T, what string, got, want map[string]any) {
	t.Helper()
	for name := range want {
		if _, there := got[name]; !there {
			t.Errorf("%s: there is no %s, shipped is %v", what, name, want[name])
		}
	}
	for name, value := range got {
		if !reflect.DeepEqual(value, want[name]) {
			t.Errorf("%s: %s is\n%v, shipped is\n%v", what, name, value, want[name])
		}
	}
}
