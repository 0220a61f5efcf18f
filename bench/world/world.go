// Package world has what a gate is measured among: Redis with as many live revocations as asked
// for, an issuer's keys and tokens, the servers that it is compared with, and the real Envoy; each
// a process of its own on loopback. None of them outlives this process.
package world

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/goccy/go-yaml"

	"github.com/sallyport/sallyport/bench/load"
	"github.com/sallyport/sallyport/internal/mesh"
)

// Options say what a world consists of.
type Options struct {
	Root        string // of the tree that is measured: the folder with its go.mod
	Dir         string // takes what is generated
	Programs    string // the folder with the programs that Build made
	Revocations int    // live entries in the log
	Cores       Cores
	Progress    func(doing string)
}

// World is running processes. Stop ends them.
type World struct {
	o         Options
	processes *mesh.Processes
	keys      *keys
	redis     string
	control   string // of the process that writes revocations
}

// Server is one process that answers checks.
type Server struct {
	*mesh.Child
	TCP, Unix string // where it listens; "" where it does not
	Admin     string // a gate's admin port
	Config    string // a gate's configuration file
	Blind     bool   // it looks at no token
}

// Forged is what the server says of a forged token; nil is nobody, who refuses none.
func (s *Server) Forged() load.Verdict {
	if s == nil || s.Blind {
		return load.Allowed
	}
	return load.Refused
}

// Issuer and Audience are those of all tokens.
const (
	Issuer   = "https://issuer.example.com"
	Audience = "sallyport-bench"
	Routes   = 50
)

// Start starts Redis and fills the log.
func Start(ctx context.Context, o Options) (_ *World, err error) {
	server, err := exec.LookPath("redis-server")
	if err != nil {
		return nil, errors.New("world: redis-server (7.0 or newer) is missing: on Debian and Ubuntu, " +
			"apt-get install redis-server")
	}
	w := &World{o: o, processes: mesh.NewProcesses(o.Dir)}
	defer func() {
		if err != nil {
			err = errors.Join(err, w.Stop())
		}
	}()
	if w.keys, err = serveKeys(); err != nil {
		return nil, err
	}
	if err := w.keys.writeFile(w.keyFile()); err != nil {
		return nil, err
	}
	if w.redis, err = w.processes.Address("redis"); err != nil {
		return nil, err
	}
	host, port, err := net.SplitHostPort(w.redis)
	if err != nil {
		return nil, fmt.Errorf("world: %w", err)
	}
	w.o.Progress("starting Redis")
	redis, err := w.run(ctx, "redis", o.Cores.All, dials("tcp", w.redis), server,
		"--bind", host, "--port", port, "--dir", o.Dir, "--save", "", "--appendonly", "yes",
		"--appendfsync", "always", "--maxmemory-policy", "noeviction",
		"--auto-aof-rewrite-percentage", "0")
	if err != nil {
		return nil, err
	}
	if w.control, err = w.processes.Address("writer"); err != nil {
		return nil, err
	}
	writer, err := w.run(ctx, "writer", o.Cores.All, dials("tcp", w.control),
		filepath.Join(o.Programs, "writer"), "-redis", w.redis, "-listen", w.control,
		"-issuer", Issuer, "-fill", strconv.Itoa(o.Revocations))
	if err != nil {
		return nil, err
	}
	w.o.Progress(fmt.Sprintf("writing %d revocations", o.Revocations))
	if err := w.filled(ctx); err != nil {
		return nil, err
	}
	// From now on they make way for what is measured, and for the generator.
	for _, c := range []*mesh.Child{redis, writer} {
		if err := errors.Join(Pin(c.PID(), o.Cores.Rest), makeWay(c.PID())); err != nil {
			return nil, err
		}
	}
	return w, nil
}

// filled waits until the log has all entries.
func (w *World) filled(ctx context.Context) error {
	ctx, cancel := context.WithTimeoutCause(ctx, fillWithin,
		fmt.Errorf("world: the log was not filled within %v", fillWithin))
	defer cancel()
	for {
		_, err := get(ctx, "http://"+w.control+"/readyz")
		if err == nil {
			return nil
		}
		select {
		case <-time.After(50 * time.Millisecond):
		case err := <-w.processes.Failed():
			return err
		case <-ctx.Done():
			return errors.Join(context.Cause(ctx), err)
		}
	}
}

// fillWithin is several times what a million entries take.
const fillWithin = 3 * time.Minute

// Failed receives the error of the first process that ended by itself.
func (w *World) Failed() <-chan error { return w.processes.Failed() }

// Stop ends everything, and returns when nothing is left.
func (w *World) Stop() error {
	err := w.processes.Stop(10 * time.Second)
	if w.keys != nil {
		err = errors.Join(err, w.keys.close())
	}
	return err
}

// Revoke has so many sessions a second revoked from now on; 0 ends it.
func (w *World) Revoke(ctx context.Context, rate int) error {
	_, err := post(ctx, fmt.Sprintf("http://%s/rate?rate=%d", w.control, rate))
	return err
}

// Revoked returns how many sessions Revoke has had revoked so far, all acknowledged.
func (w *World) Revoked(ctx context.Context) (int, error) {
	text, err := get(ctx, "http://"+w.control+"/revoked")
	if err != nil {
		return 0, err
	}
	n, err := strconv.Atoi(text)
	if err != nil {
		return 0, fmt.Errorf("world: the writer: %w", err)
	}
	return n, nil
}

func (w *World) keyFile() string { return filepath.Join(w.o.Dir, "jwks.json") }

// names numbers sockets and folders, whose paths must be short.
var names atomic.Int64

// Program is a gate's program, and the tree that it was built from.
type Program struct{ Path, Root string }

// shippedGate is the gate's configuration that users run, in its tree.
const shippedGate = "deploy/config/authz.yaml"

// Gate starts a gate, at a Unix socket or at a TCP port, and returns when it is ready. It has the
// defaults, and, of what its tree ships, how it is asked by Envoy (ext_authz).
func (w *World) Gate(ctx context.Context, name string, program Program,
	unixSocket bool) (*Server, error) {
	s, settings, err := w.gateSettings(name, program.Root)
	if err != nil {
		return nil, err
	}
	if unixSocket {
		s.Unix = "unix:" + filepath.Join(filepath.Dir(s.Config), "gate.sock")
	} else if s.TCP, err = w.processes.Address(name); err != nil {
		return nil, err
	}
	settings["listen"] = s.Unix + s.TCP
	if err := writeSettings(s.Config, settings); err != nil {
		return nil, err
	}
	w.o.Progress("starting " + name)
	s.Child, err = w.run(ctx, name, w.o.Cores.Measured, answers("http://"+s.Admin+"/readyz"),
		program.Path,
		"serve", "--config", s.Config)
	return s, err
}

// gateSettings are those of a gate of that tree, without where it is asked, and where they are to be
// written.
func (w *World) gateSettings(name, root string) (*Server, map[string]any, error) {
	dir := filepath.Join(w.o.Dir, "g"+strconv.FormatInt(names.Add(1), 10))
	if err := os.Mkdir(dir, 0o700); err != nil {
		return nil, nil, fmt.Errorf("world: %w", err)
	}
	s := &Server{Config: filepath.Join(dir, "authz.yaml")}
	var err error
	if s.Admin, err = w.processes.Address(name + "'s admin port"); err != nil {
		return nil, nil, err
	}
	settings := map[string]any{
		"name":  name,
		"admin": map[string]any{"listen": s.Admin, "pprof": true},
		"issuers": []any{map[string]any{
			"issuer": Issuer, "audiences": []string{Audience}, "ours": true, "jwks_url": w.keys.url,
		}},
		"key_cache_dir": filepath.Join(dir, "keys"),
		"policy":        map[string]any{"routes": routes()},
		"redis":         map[string]any{"address": w.redis},
	}
	given, err := readSettings(filepath.Join(root, shippedGate))
	if err != nil {
		return nil, nil, err
	}
	if asked, ok := given["ext_authz"]; ok {
		settings["ext_authz"] = asked
	}
	return s, settings, nil
}

// writeSettings replaces a configuration file.
func writeSettings(path string, settings map[string]any) error {
	text, err := yaml.Marshal(settings)
	if err != nil {
		return fmt.Errorf("world: %w", err)
	}
	next := path + ".next"
	if err := os.WriteFile(next, text, 0o600); err != nil {
		return fmt.Errorf("world: %w", err)
	}
	if err := os.Rename(next, path); err != nil {
		return fmt.Errorf("world: %w", err)
	}
	return nil
}

// readSettings reads a configuration file.
func readSettings(path string) (map[string]any, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("world: %w", err)
	}
	var settings map[string]any
	if err := yaml.Unmarshal(text, &settings); err != nil {
		return nil, fmt.Errorf("world: %s: %w", path, err)
	}
	return settings, nil
}

func routes() []any {
	all := make([]any, Routes)
	for i := range all {
		all[i] = map[string]any{
			"match": map[string]any{"path": service(i) + "/**"}, "allow": "authenticated",
		}
	}
	return all
}

// conditional is a policy that judges as the other one does, with a condition on each route.
const conditional = "conditional"

func conditionalRoutes() []any {
	all := routes()
	for _, route := range all {
		route := route.(map[string]any)
		delete(route, "allow")
		route["require"] = map[string]any{"when": `claims.sub != ""`}
	}
	return all
}

// service is the path below which the i-th route's service lies.
func service(i int) string { return fmt.Sprintf("/api/service-%02d", i%Routes) }

// Kind is one of the servers that a gate is compared with.
type Kind string

// Those are: what always answers ok; what verifies with jwx and asks Redis, each time; and OPA's
// engine.
const (
	Stock     Kind = "stock"
	Verifying Kind = "jwx and EXISTS"
	OPA       Kind = "OPA"
)

// Baseline starts one of them, at a TCP port and a Unix socket.
func (w *World) Baseline(ctx context.Context, kind Kind) (*Server, error) {
	at, err := w.processes.Address(string(kind))
	if err != nil {
		return nil, err
	}
	s := &Server{TCP: at, Blind: kind == Stock}
	socket := filepath.Join(w.o.Dir, "s"+strconv.FormatInt(names.Add(1), 10)+".sock")
	s.Unix = "unix:" + socket
	program, args := "stock", []string{"-listen", s.TCP + "," + s.Unix}
	trust := []string{"-jwks", w.keyFile(), "-issuer", Issuer, "-audience", Audience}
	switch kind {
	case Stock:
	case Verifying:
		args = append(append(args, trust...), "-redis", w.redis)
	case OPA:
		program, args = "opa", append(args, trust...)
	default:
		return nil, fmt.Errorf("world: no server is called %q", kind)
	}
	w.o.Progress("starting " + string(kind))
	s.Child, err = w.run(ctx, strings.ReplaceAll(string(kind), " ", "-"), w.o.Cores.Measured,
		dials("unix", socket), filepath.Join(w.o.Programs, program), args...)
	return s, err
}

// run starts a process on some cores. Its parallelism is that of those cores: a runtime that counts
// them finds no others.
func (w *World) run(ctx context.Context, name string, on CPUSet, ready func(context.Context) error,
	program string, args ...string) (*mesh.Child, error) {
	return w.processes.Start(ctx, mesh.Spec{
		Name: name, Path: "taskset", Args: append([]string{"-c", on.String(), program}, args...),
		Dir: w.o.Dir, Ready: ready,
	})
}

func dials(network, address string) func(context.Context) error {
	return func(ctx context.Context) error {
		conn, err := new(net.Dialer).DialContext(ctx, network, address)
		if err != nil {
			return err
		}
		return conn.Close()
	}
}

func answers(url string) func(context.Context) error {
	return func(ctx context.Context) error { _, err := get(ctx, url); return err }
}

func get(ctx context.Context, url string) (string, error) { return ask(ctx, http.MethodGet, url) }

func post(ctx context.Context, url string) (string, error) { return ask(ctx, http.MethodPost, url) }

func ask(ctx context.Context, method, url string) (string, error) {
	request, err := http.NewRequestWithContext(ctx, method, url, nil)
	if err != nil {
		return "", fmt.Errorf("world: %w", err)
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return "", fmt.Errorf("world: %w", err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(io.LimitReader(response.Body, 1<<20))
	if err != nil {
		return "", fmt.Errorf("world: %s: %w", url, err)
	}
	if response.StatusCode != http.StatusOK {
		return "", fmt.Errorf("world: %s answered %s: %s", url, response.Status, body)
	}
	return strings.TrimSpace(string(body)), nil
}

// writeJSON writes a file for Envoy.
func writeJSON(path string, value any) error {
	text, err := json.MarshalIndent(value, "", " ")
	if err != nil {
		return fmt.Errorf("world: %w", err)
	}
	if err := os.WriteFile(path, text, 0o600); err != nil {
		return fmt.Errorf("world: %w", err)
	}
	return nil
}
