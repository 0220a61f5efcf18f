package world

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/goccy/go-yaml"

	"github.com/sallyport/sallyport/bench/load"
	"github.com/sallyport/sallyport/internal/mesh"
)

// Way is one way through Envoy: a port behind which requests are checked in one way.
type Way struct {
	Name string
	// Ask is the server that is asked, at its Unix socket if Unix is set, else at its TCP port. With
	// nil, nobody is asked.
	Ask  *Server
	Unix bool
	// JWT has Envoy itself verify tokens (jwt_authn), Cache with a cache of verified ones.
	JWT, Cache bool
	// Inside has the gate within this Envoy asked, Anew by a policy with conditions, of which no answer
	// is given again.
	Inside, Anew bool

	Address string // where requests go; filled in by Envoy
}

// Forged is what becomes of a forged token on this way: it is let through where nobody looks at it.
func (w *Way) Forged() load.Verdict {
	if w.JWT || w.Inside {
		return load.Refused
	}
	return w.Ask.Forged()
}

// Envoy is the real Envoy with all ways.
type Envoy struct {
	*mesh.Child
	admin string
}

// shipped is the configuration that users run.
const shipped = "deploy/config/envoy.yaml"

// Envoy starts Envoy with one worker. Each way has the shipped listener, filters and clusters; what
// differs is who is asked. What a request meets behind the filters is an answer by Envoy itself, so
// that no upstream is measured, and no access log is written.
func (w *World) Envoy(ctx context.Context, name string, ways []*Way) (*Envoy, error) {
	return w.envoy(ctx, name, nil, ways)
}

// EnvoyWithGate starts Envoy with a gate within, the module at that path. Its Config and Admin are the
// gate's.
func (w *World) EnvoyWithGate(ctx context.Context, name, module string,
	ways []*Way) (*Server, error) {
	s, settings, err := w.gateSettings(name, w.o.Root)
	if err != nil {
		return nil, err
	}
	settings["policies"] = map[string]any{conditional: map[string]any{"routes": conditionalRoutes()}}
	if err := writeSettings(s.Config, settings); err != nil {
		return nil, err
	}
	e, err := w.envoy(ctx, name, &within{module: module, settings: s.Config}, ways)
	if err != nil {
		return nil, err
	}
	s.Child = e.Child
	return s, nil
}

// within is a gate inside Envoy.
type within struct{ module, settings string }

func (w *World) envoy(ctx context.Context, name string, gate *within, ways []*Way) (*Envoy, error) {
	program, err := mesh.FindEnvoy(w.o.Root)
	if err != nil {
		return nil, err
	}
	e := new(Envoy)
	if e.admin, err = w.processes.Address(name + "'s own admin port"); err != nil {
		return nil, err
	}
	for _, way := range ways {
		if way.Address, err = w.processes.Address(name + ", " + way.Name); err != nil {
			return nil, err
		}
	}
	text, err := os.ReadFile(filepath.Join(w.o.Root, shipped))
	if err != nil {
		return nil, fmt.Errorf("world: %w", err)
	}
	keys, err := w.keys.set()
	if err != nil {
		return nil, err
	}
	bootstrap, err := envoyConfig(text, keys, e.admin, gate, ways)
	if err != nil {
		return nil, err
	}
	file := filepath.Join(w.o.Dir, name+".json")
	if err := writeJSON(file, bootstrap); err != nil {
		return nil, err
	}
	w.o.Progress("starting " + name)
	asked := 0
	for _, way := range ways {
		if way.Ask != nil {
			asked++
		}
	}
	e.Child, err = w.run(ctx, name, w.o.Cores.Measured, e.ready(asked), program, "-c", file,
		"--concurrency", "1", "-l", "warning", "--use-dynamic-base-id")
	return e, err
}

// ready waits until Envoy has found every server that it asks to be healthy.
func (e *Envoy) ready(asked int) func(context.Context) error {
	return func(ctx context.Context) error {
		if _, err := get(ctx, "http://"+e.admin+"/ready"); err != nil {
			return err
		}
		text, err := get(ctx, "http://"+e.admin+"/stats?filter=^cluster\\.ask.*membership_healthy$")
		if err != nil {
			return err
		}
		if n := strings.Count(text+"\n", ": 1\n"); n != asked {
			return fmt.Errorf("expected %d servers that are healthy, got %d", asked, n)
		}
		return nil
	}
}

type object = map[string]any

// envoyConfig makes a configuration with the ways out of the shipped one.
func envoyConfig(text, keys []byte, admin string, gate *within, ways []*Way) (object, error) {
	c := &envoyCopy{}
	if err := c.read(text); err != nil {
		return nil, err
	}
	var listeners, clusters []any
	for i, way := range ways {
		listener, err := c.listener(i, way, gate, keys)
		if err != nil {
			return nil, fmt.Errorf("world: %s: %w", way.Name, err)
		}
		listeners = append(listeners, listener)
		if way.Ask != nil {
			cluster, err := c.cluster(i, way)
			if err != nil {
				return nil, err
			}
			clusters = append(clusters, cluster)
		}
	}
	socket, err := socketAddress(admin)
	if err != nil {
		return nil, err
	}
	bootstrap := object{
		"admin":            object{"address": socket},
		"overload_manager": c.file["overload_manager"],
		"static_resources": object{"listeners": listeners, "clusters": clusters},
	}
	if gate != nil {
		bootstrap["bootstrap_extensions"] = []any{gate.extension()}
	}
	return bootstrap, nil
}

const types = "type.googleapis.com/envoy.extensions."

// extension runs the gate, filter asks it, as in docs/in-process.md.
func (g *within) extension() object {
	return object{"name": "sallyport", "typed_config": object{
		"@type":                 types + "bootstrap.dynamic_modules.v3.DynamicModuleBootstrapExtension",
		"dynamic_module_config": g.load(), "extension_name": "sallyport",
		"extension_config": object{
			"@type": "type.googleapis.com/google.protobuf.StringValue", "value": g.settings,
		},
	}}
}

func (g *within) filter() object {
	return object{"name": "sallyport", "typed_config": object{
		"@type":                 types + "filters.http.dynamic_modules.v3.DynamicModuleFilter",
		"dynamic_module_config": g.load(), "filter_name": "sallyport",
	}}
}

func (g *within) byPolicy(name string) object {
	return object{
		"@type":                 types + "filters.http.dynamic_modules.v3.DynamicModuleFilterPerRoute",
		"dynamic_module_config": g.load(), "filter_name": "sallyport",
		"filter_config": object{
			"@type": "type.googleapis.com/google.protobuf.StringValue", "value": "policy=" + name,
		},
	}
}

func (g *within) load() object {
	return object{"name": "sallyport", "module": object{"local": object{"filename": g.module}}}
}

// envoyCopy is the shipped configuration as JSON has it.
type envoyCopy struct{ file object }

func (c *envoyCopy) read(text []byte) error {
	asJSON, err := yaml.YAMLToJSON(text)
	if err != nil {
		return fmt.Errorf("world: %s: %w", shipped, err)
	}
	if err := json.Unmarshal(asJSON, &c.file); err != nil {
		return fmt.Errorf("world: %s: %w", shipped, err)
	}
	return nil
}

// at returns a copy of what lies at a path of names and numbers in the file.
func (c *envoyCopy) at(path ...string) (object, error) {
	var v any = c.file
	for _, step := range path {
		switch in := v.(type) {
		case object:
			v = in[step]
		case []any:
			n, err := strconv.Atoi(step)
			if err != nil || n >= len(in) {
				return nil, fmt.Errorf("world: %s has no %s", shipped, strings.Join(path, "."))
			}
			v = in[n]
		}
	}
	text, err := json.Marshal(v)
	if err != nil {
		return nil, fmt.Errorf("world: %w", err)
	}
	var copied object
	if err := json.Unmarshal(text, &copied); err != nil || copied == nil {
		return nil, fmt.Errorf("world: %s has no %s", shipped, strings.Join(path, "."))
	}
	return copied, nil
}

func (c *envoyCopy) listener(i int, way *Way, gate *within, keys []byte) (object, error) {
	listener, err := c.at("static_resources", "listeners", "0")
	if err != nil {
		return nil, err
	}
	manager, err := c.at("static_resources", "listeners", "0", "filter_chains", "0", "filters", "0",
		"typed_config")
	if err != nil {
		return nil, err
	}
	address, err := socketAddress(way.Address)
	if err != nil {
		return nil, err
	}
	delete(manager, "access_log")
	route := object{
		"match":           object{"prefix": "/"},
		"direct_response": object{"status": 200, "body": object{"inline_string": "served\n"}},
	}
	if way.Anew && gate != nil {
		route["typed_per_filter_config"] = object{"sallyport": gate.byPolicy(conditional)}
	}
	manager["route_config"] = object{"virtual_hosts": []any{object{
		"name": "all", "domains": []string{"*"}, "routes": []any{route},
	}}}
	if err := setFilters(manager, cluster(i), way, gate, keys); err != nil {
		return nil, err
	}
	listener["name"], listener["address"] = "way-"+strconv.Itoa(i), address
	listener["filter_chains"] = []any{object{"filters": []any{object{
		"name": "envoy.filters.network.http_connection_manager", "typed_config": manager,
	}}}}
	return listener, nil
}

// cluster names the server that is asked on the i-th way.
func cluster(i int) string { return "ask-" + strconv.Itoa(i) }

// setFilters puts in place of the filter that asks the gate what stands there on this way.
func setFilters(manager object, cluster string, way *Way, gate *within, keys []byte) error {
	const asks = "envoy.filters.http.ext_authz"
	filters, _ := manager["http_filters"].([]any)
	var kept []any
	found := false
	for _, f := range filters {
		filter, ok := f.(object)
		if !ok || filter["name"] != asks {
			kept = append(kept, f)
			continue
		}
		found = true
		switch {
		case way.Ask != nil:
			config, ok := filter["typed_config"].(object)
			if !ok {
				return fmt.Errorf("world: %s: %s has no typed_config", shipped, asks)
			}
			service, ok := config["grpc_service"].(object)
			if !ok {
				return fmt.Errorf("world: %s: %s has no grpc_service", shipped, asks)
			}
			service["envoy_grpc"] = object{"cluster_name": cluster}
			kept = append(kept, filter)
		case way.Inside && gate != nil:
			kept = append(kept, gate.filter())
		case way.Inside:
			return errors.New("world: " + way.Name + ": no gate is within this Envoy")
		case way.JWT:
			kept = append(kept, jwtFilter(string(keys), way.Cache))
		}
	}
	if !found {
		return errors.New("world: " + shipped + " has no filter " + asks)
	}
	manager["http_filters"] = kept
	return nil
}

// jwtFilter is Envoy's own verifier, with room for every token that is sent.
func jwtFilter(keys string, cached bool) object {
	provider := object{
		"issuer": Issuer, "audiences": []string{Audience}, "forward": true,
		"local_jwks":       object{"inline_string": keys},
		"claim_to_headers": []any{object{"header_name": "x-auth-subject", "claim_name": "sub"}},
	}
	if cached {
		provider["jwt_cache_config"] = object{"jwt_cache_size": 4096}
	}
	return object{
		"name": "envoy.filters.http.jwt_authn",
		"typed_config": object{
			"@type": "type.googleapis.com/" +
				"envoy.extensions.filters.http.jwt_authn.v3.JwtAuthentication",
			"providers": object{"issuer": provider},
			"rules": []any{object{
				"match": object{"prefix": "/"}, "requires": object{"provider_name": "issuer"},
			}},
		},
	}
}

// cluster is the shipped one of the gates with the server of a way.
func (c *envoyCopy) cluster(i int, way *Way) (object, error) {
	clusters, _ := c.file["static_resources"].(object)["clusters"].([]any)
	for n, v := range clusters {
		if in, ok := v.(object); !ok || in["name"] != "authz" {
			continue
		}
		copied, err := c.at("static_resources", "clusters", strconv.Itoa(n))
		if err != nil {
			return nil, err
		}
		address, err := way.address()
		if err != nil {
			return nil, err
		}
		copied["name"], copied["type"] = cluster(i), "STATIC"
		delete(copied, "cluster_type")
		copied["load_assignment"] = object{
			"cluster_name": cluster(i), "endpoints": []any{object{"lb_endpoints": []any{
				object{"endpoint": object{"address": address}},
			}}},
		}
		return copied, nil
	}
	return nil, errors.New("world: " + shipped + " has no cluster authz")
}

func (w *Way) address() (object, error) {
	if !w.Unix {
		return socketAddress(w.Ask.TCP)
	}
	path, ok := strings.CutPrefix(w.Ask.Unix, "unix:")
	if !ok {
		return nil, fmt.Errorf("world: %s has no Unix socket", w.Name)
	}
	return object{"pipe": object{"path": path}}, nil
}

func socketAddress(address string) (object, error) {
	h, p, err := net.SplitHostPort(address)
	if err != nil {
		return nil, fmt.Errorf("world: %w", err)
	}
	port, err := strconv.Atoi(p)
	if err != nil {
		return nil, fmt.Errorf("world: %w", err)
	}
	return object{"socket_address": object{"address": h, "port_value": port}}, nil
}
