package meshtest

import (
	"encoding/json"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"

	"github.com/sallyport/sallyport/internal/mesh"
)

// Shipped is Envoy's file that users run, from the folder root of a working tree, and ShippedInside
// the one with the gate inside Envoy.
const (
	Shipped       = "deploy/config/envoy.yaml"
	ShippedInside = "deploy/config/envoy-in-process.yaml"
)

// Change is one text of a file that a test replaces by another. The old one must be there.
type Change struct{ Old, New string }

// gateway is where the shipped file's gateway listens.
const gateway = `{socket_address: {address: "::", ipv4_compat: true, port_value: 10000}}`

// OnEveryAddress leaves the shipped file's gateway listening on all addresses of IPv4 and IPv6;
// on those of the loopback device, that is (the option is SO_BINDTODEVICE of SOL_SOCKET, its
// value "lo").
var OnEveryAddress = Change{gateway, strings.Replace(gateway, "10000", "GATEWAY_PORT", 1) + `
      socket_options: [{level: 1, name: 25, buf_value: bG8=, state: STATE_PREBIND}]`}

// RunShipped has a mesh's Envoy run the file that users run, the one with the gate inside where the
// mesh has it there. Nothing of it is replaced but addresses, and the module's files, which become
// those of the mesh, and what changes say. Its status listener takes a free port.
func RunShipped(t testing.TB, o *mesh.Options, changes ...Change) {
	GateInside(t, o)
	file := Shipped
	if o.Module != "" {
		file = ShippedInside
	}
	content, err := os.ReadFile(filepath.Join(Root(t), file))
	if err != nil {
		t.Fatal(err)
	}
	before := o.Rewrite
	o.Rewrite = func(name, own string) string {
		if before != nil {
			own = before(name, own)
		}
		if name != filepath.Base(Shipped) { // the mesh has one name for both
			return own
		}
		// The mesh replaces only files with this line, which it takes for its own.
		shipped := `# Written by "sallyport demo"` + "\n" + string(content)
		for _, c := range slices.Concat(changes, readdressed(t, own, changes)) {
			if !strings.Contains(shipped, c.Old) {
				t.Fatalf("meshtest: %s has no %q to be replaced", file, c.Old)
			}
			shipped = strings.ReplaceAll(shipped, c.Old, c.New)
		}
		return shipped
	}
}

// readdressed returns what turns the addresses of the shipped file into those of the mesh's own.
func readdressed(t testing.TB, own string, changes []Change) []Change {
	type address struct {
		Address struct {
			Socket struct {
				Host string `yaml:"address"`
				Port string `yaml:"port_value"`
			} `yaml:"socket_address"`
		} `yaml:"address"`
	}
	var file struct {
		Admin     address `yaml:"admin"`
		Resources struct {
			Listeners []address `yaml:"listeners"`
			Clusters  []struct {
				Name       string `yaml:"name"`
				Assignment struct {
					Endpoints []struct {
						Hosts []struct {
							Endpoint address `yaml:"endpoint"`
						} `yaml:"lb_endpoints"`
					} `yaml:"endpoints"`
				} `yaml:"load_assignment"`
			} `yaml:"clusters"`
		} `yaml:"static_resources"`
		Inside []struct {
			Config struct {
				Module struct {
					Module struct {
						Local struct {
							File string `yaml:"filename"`
						} `yaml:"local"`
					} `yaml:"module"`
				} `yaml:"dynamic_module_config"`
				Settings struct {
					File string `yaml:"value"`
				} `yaml:"extension_config"`
			} `yaml:"typed_config"`
		} `yaml:"bootstrap_extensions"`
	}
	if err := yaml.Unmarshal([]byte(own), &file); err != nil {
		t.Fatalf("meshtest: the mesh's own envoy.yaml: %v", err)
	}
	written := func(a address) string {
		return fmt.Sprintf("{address: %s, port_value: %s}", a.Address.Socket.Host, a.Address.Socket.Port)
	}
	listener := file.Resources.Listeners[0]
	here := []Change{
		{"{address: 127.0.0.1, port_value: 9901}", written(file.Admin)},
		{`{address: "::", ipv4_compat: true, port_value: 10002}`, "{address: 127.0.0.1, port_value: 0}"},
	}
	if slices.Contains(changes, OnEveryAddress) {
		here = append(here, Change{"GATEWAY_PORT", listener.Address.Socket.Port})
	} else {
		here = append(here, Change{gateway, "{socket_address: " + written(listener) + "}"})
	}
	ports := map[string]string{"issuer": "10001", "authz": "10003", "upstream": "8080"}
	for _, inside := range file.Inside {
		delete(ports, "authz")
		here = append(here,
			Change{"{filename: /usr/lib/libsallyport.so}",
				"{filename: " + inside.Config.Module.Module.Local.File + "}"},
			Change{"value: /etc/sallyport/authz.yaml", "value: " + inside.Config.Settings.File})
	}
	for _, c := range file.Resources.Clusters {
		port, used := ports[c.Name]
		if !used {
			continue
		}
		delete(ports, c.Name)
		var hosts []string
		for _, h := range c.Assignment.Endpoints[0].Hosts {
			hosts = append(hosts, "{endpoint: {address: {socket_address: "+written(h.Endpoint)+"}}}")
		}
		here = append(here, Change{
			"{endpoint: {address: {socket_address: {address: " + c.Name + ", port_value: " + port + "}}}}",
			strings.Join(hosts, ", "),
		})
	}
	// A cluster that has been renamed would keep an address where nobody listens.
	if len(ports) > 0 {
		t.Fatalf("meshtest: the mesh's own envoy.yaml has no cluster for %v", ports)
	}
	return here
}

// Status returns the address of the status listener of a mesh that runs the shipped file.
func (s *Stack) Status() string {
	s.t.Helper()
	response, err := s.HTTP.Get(s.Endpoints().EnvoyAdmin + "/listeners?format=json")
	if err != nil {
		s.t.Fatal(err)
	}
	defer response.Body.Close()
	var listeners struct {
		Statuses []struct {
			Name  string `json:"name"`
			Local struct {
				Socket struct {
					Host string `json:"address"`
					Port int    `json:"port_value"`
				} `json:"socket_address"`
			} `json:"local_address"`
		} `json:"listener_statuses"`
	}
	if err := json.NewDecoder(response.Body).Decode(&listeners); err != nil {
		s.t.Fatal(err)
	}
	for _, l := range listeners.Statuses {
		if l.Name == "status" {
			return net.JoinHostPort(l.Local.Socket.Host, fmt.Sprint(l.Local.Socket.Port))
		}
	}
	s.t.Fatal("meshtest: Envoy has no listener named status")
	return ""
}
