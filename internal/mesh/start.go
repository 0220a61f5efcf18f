package mesh

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// The stages in which parts start; they are stopped in the reverse order.
const (
	stageRedis = iota
	stageIssuer
	stageGate
	stageEnvoy
)

// start brings a mesh up once.
func start(ctx context.Context, o Options) (*Mesh, error) {
	m := &Mesh{options: o, supervisor: newSupervisor(), stopped: make(chan struct{})}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	go m.watch(cancel)
	if err := m.bringUp(ctx); err != nil {
		m.shutDown(nil)
		return nil, errors.Join(err, m.err)
	}
	return m, nil
}

// watch stops the mesh, and a start that is under way, when a child exits unexpectedly.
func (m *Mesh) watch(cancel context.CancelCauseFunc) {
	select {
	case err := <-m.supervisor.failed:
		cancel(err)
		m.shutDown(err)
	case <-m.stopped:
	}
}

// bringUp starts one part after the other, each when those that it needs are ready.
func (m *Mesh) bringUp(ctx context.Context) error {
	dir := m.options.Dir
	if err := makeDirs(dir, keysDir, cacheDir, logDir); err != nil {
		return err
	}
	unlock, err := lockDir(dir)
	if err != nil {
		return err
	}
	m.closers = append(m.closers, unlock)
	// The file of an earlier mesh would send people to ports where nobody listens.
	if err := os.Remove(filepath.Join(dir, endpointsFile)); err != nil &&
		!errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("mesh: %w", err)
	}
	s, err := m.prepare(ctx)
	if err != nil {
		return err
	}
	if err := m.startParts(ctx, s); err != nil {
		return err
	}
	m.endpoints = m.describe(s)
	return m.endpoints.write(dir)
}

// prepare chooses the ports, starts what needs no configuration file, and writes the files that the
// rest needs.
func (m *Mesh) prepare(ctx context.Context) (settings, error) {
	p := &ports{base: m.options.Port}
	m.closers = append(m.closers, p.release)
	s, err := m.addresses(p)
	if err != nil {
		return s, err
	}
	m.progress("starting Redis")
	if s.Redis, err = m.startRedis(ctx, p); err != nil {
		return s, err
	}
	upstream, err := m.startUpstream(p)
	if err != nil {
		return s, err
	}
	s.Upstream = hostPort(upstream)
	m.progress("making keys and users")
	if err := makeKeys(ctx, filepath.Join(m.options.Dir, keysDir)); err != nil {
		return s, err
	}
	if err := makeAdminToken(filepath.Join(m.options.Dir, tokenFile)); err != nil {
		return s, err
	}
	if s.Users, err = hashPasswords(m.options.Users); err != nil {
		return s, err
	}
	return s, s.writeConfig(m.options.Dir, m.options.Rewrite)
}

// addresses chooses the ports of all children.
func (m *Mesh) addresses(p *ports) (settings, error) {
	s := settings{
		Audience:         "sallyport-demo",
		Keys:             "./" + keysDir,
		UsersFile:        "./" + usersFile,
		AdminToken:       "./" + tokenFile,
		Processors:       min(runtime.NumCPU(), 8),
		AllowedHeaders:   allowedHeaders,
		EncodeRawHeaders: m.options.EncodeRawHeaders,
		Module:           m.options.Module,
		AuthzFile:        filepath.Join(m.options.Dir, authzFile),
	}
	var errs []error
	take := func(offset int, whose string) hostPort {
		at, err := p.take(offset, whose)
		errs = append(errs, err)
		return hostPort(at)
	}
	s.Gateway = take(0, "the gateway")
	s.GatewaySix = listensOnSix(s.Gateway.Port())
	s.EnvoyAdmin = take(adminOffset, "Envoy's admin port")
	for i := range m.options.Issuers {
		s.Issuers = append(s.Issuers, newIssuer(i, take))
	}
	for i := range m.options.Gates {
		s.Gates = append(s.Gates, newGate(i, take))
	}
	if err := errors.Join(errs...); err != nil {
		return s, err
	}
	s.Iss = "http://" + string(s.Issuers[0].Listen)
	s.JWKS = s.Iss + "/.well-known/jwks.json"
	// Through Envoy, which knows which issuers are healthy; unless it waits for the keys itself.
	if len(s.Issuers) > 1 && s.Module == "" {
		s.JWKS = "http://" + string(s.Gateway) + "/.well-known/jwks.json"
	}
	return s, nil
}

func newIssuer(i int, take func(int, string) hostPort) place {
	offset := issuerOffset
	if i > 0 {
		offset = spareIssuers + i
	}
	name := "issuer-" + strconv.Itoa(i+1)
	p := place{
		Name: name, Listen: take(offset, name),
		Admin: take(offset+adminOffset, name+"'s admin port"),
	}
	if i > 0 { // issuer.yaml is the first one's
		p.Flags = []string{
			"--name", name, "--listen", string(p.Listen), "--admin-listen", string(p.Admin),
		}
	}
	return p
}

func newGate(i int, take func(int, string) hostPort) place {
	name := "gate-" + strconv.Itoa(i+1)
	g := place{
		Name:   name,
		Listen: take(gateOffset+i, name),
		Admin:  take(gateOffset+i+adminOffset, name+"'s admin port"),
		Cache:  "./" + cacheDir + "/" + name,
	}
	if i > 0 { // authz.yaml is the first one's
		g.Flags = []string{
			"--name", name, "--listen", string(g.Listen), "--admin-listen", string(g.Admin),
			"--key-cache-dir", g.Cache,
		}
	}
	return g
}

// startUpstream serves the upstream in this process.
func (m *Mesh) startUpstream(p *ports) (string, error) {
	l, err := p.listen(upstreamOffset, "the upstream")
	if err != nil {
		return "", err
	}
	server := &http.Server{
		Handler: m.options.Upstream, Protocols: UpstreamProtocols(),
		ReadHeaderTimeout: 10 * time.Second,
	}
	served := make(chan error, 1)
	go func() { served <- server.Serve(l) }()
	m.closers = append(m.closers, func() error {
		err := server.Close()
		if serveErr := <-served; !errors.Is(serveErr, http.ErrServerClosed) {
			err = errors.Join(err, serveErr)
		}
		return err
	})
	return l.Addr().String(), nil
}

// noDrainDelay lets a gate exit at once: Envoy, which would need the time to notice, is stopped
// before it.
var noDrainDelay = []string{"--drain-delay", "0s"}

// startParts starts issuers and Envoy, then, when there are keys to fetch, the gates.
func (m *Mesh) startParts(ctx context.Context, s settings) error {
	dir := m.options.Dir
	var first, gates []*Child
	for _, issuer := range s.Issuers {
		args := slices.Concat([]string{"serve", "--config", filepath.Join(dir, issuerFile)},
			issuer.Flags, m.options.IssuerArgs)
		c := m.child(issuer.Name, stageIssuer, m.options.issuer(), args...)
		c.ready = answersOK("http://" + string(issuer.Admin) + "/readyz")
		first = append(first, c)
	}
	admin := "http://" + string(s.EnvoyAdmin)
	envoy := m.child("envoy", stageEnvoy, m.options.Envoy, "-c", filepath.Join(dir, envoyFile),
		"--concurrency", "2", "-l", "warning", "--disable-hot-restart")
	envoy.ready = answersOK(admin + "/ready")
	if s.Module != "" {
		envoy.env = append(envoy.env, variables(m.options.GateArgs)...)
		m.progress("starting %s, and Envoy with a gate inside", names(first))
		return m.startChildren(ctx, append(first, envoy)...)
	}
	for _, gate := range s.Gates {
		args := slices.Concat([]string{"serve", "--config", filepath.Join(dir, authzFile)},
			gate.Flags, noDrainDelay, m.options.GateArgs)
		c := m.child(gate.Name, stageGate, m.options.authz(), args...)
		c.ready = answersOK("http://" + string(gate.Admin) + "/readyz")
		gates = append(gates, c)
	}
	// Envoy before the gates: with several issuers, gates fetch their keys through it.
	m.progress("starting %s and Envoy", names(first))
	if err := m.startChildren(ctx, append(first, envoy)...); err != nil {
		return err
	}
	m.progress("starting %s: keys and a complete copy of the revocation log", names(gates))
	if err := m.startChildren(ctx, gates...); err != nil {
		return err
	}
	// The gates are ready, but until Envoy has found that out it may answer 503 in their place.
	m.progress("waiting for Envoy to find %s healthy", names(gates))
	envoy.ready = healthyGates(admin, len(gates))
	return envoy.awaitReady(ctx)
}

// variables returns flags of a gate, --a-setting=value or --a-setting value, as a gate that has no
// command line takes them: from the environment.
func variables(flags []string) (env []string) {
	for _, word := range flags {
		name, value, whole := strings.Cut(word, "=")
		if setting, isFlag := strings.CutPrefix(name, "--"); isFlag {
			name = "SALLYPORT_" + strings.ToUpper(strings.ReplaceAll(setting, "-", "_"))
			env = append(env, name+"="+value)
		} else if !whole && len(env) > 0 {
			env[len(env)-1] += word
		}
	}
	return env
}

// child returns a child that startChildren is to start.
func (m *Mesh) child(name string, stage int, path string, args ...string) *Child {
	env := childEnvironment(os.Environ())
	if m.options.Env != nil {
		env = append(env, m.options.Env(name)...)
	}
	return &Child{
		name: name, stage: stage, path: path, args: args, dir: m.options.Dir, env: env,
		logFile: filepath.Join(m.options.Dir, logDir, name+".log"), supervisor: m.supervisor,
	}
}

// startChildren starts children at once and returns when all of them are ready.
func (m *Mesh) startChildren(ctx context.Context, children ...*Child) error {
	for _, c := range children {
		if err := c.start(); err != nil {
			return err
		}
	}
	errs := make([]error, len(children))
	var wg sync.WaitGroup
	for i, c := range children {
		wg.Go(func() { errs[i] = c.awaitReady(ctx) })
	}
	wg.Wait()
	return errors.Join(errs...)
}

// childEnvironment returns our environment without the settings of Sallyport's own programs, which
// would win over the configuration files. Redis' password and TLS settings remain: they have no
// place in a file that the demo writes.
func childEnvironment(ours []string) []string {
	var theirs []string
	for _, variable := range ours {
		name, _, _ := strings.Cut(variable, "=")
		address := name == "SALLYPORT_REDIS_ADDRESS" || name == "SALLYPORT_REDIS_ADDRESSES" ||
			name == "SALLYPORT_REDIS_MODE"
		if !strings.HasPrefix(name, "SALLYPORT_") ||
			strings.HasPrefix(name, "SALLYPORT_REDIS_") && !address {
			theirs = append(theirs, variable)
		}
	}
	return theirs
}

// describe returns what endpoints.json says.
func (m *Mesh) describe(s settings) Endpoints {
	e := Endpoints{
		Gateway:        "http://" + string(s.Gateway),
		EnvoyAdmin:     "http://" + string(s.EnvoyAdmin),
		Upstream:       "http://" + string(s.Upstream),
		Redis:          s.Redis,
		Iss:            s.Iss,
		Audience:       s.Audience,
		KeyDir:         filepath.Join(m.options.Dir, keysDir),
		AdminTokenFile: filepath.Join(m.options.Dir, tokenFile),
		Users:          m.options.Users,
	}
	for _, i := range s.Issuers {
		e.Issuers = append(e.Issuers, Issuer{
			Name: i.Name, URL: "http://" + string(i.Listen), Admin: "http://" + string(i.Admin),
		})
	}
	e.Issuer, e.IssuerAdmin = e.Issuers[0].URL, e.Issuers[0].Admin
	for _, g := range s.Gates {
		gate := Gate{Name: g.Name, GRPC: string(g.Listen), Admin: "http://" + string(g.Admin)}
		if s.Module != "" {
			gate.GRPC = ""
		}
		e.Gates = append(e.Gates, gate)
	}
	return e
}

func names(children []*Child) string {
	if n := len(children); n > 3 {
		return children[0].name + " to " + children[n-1].name
	}
	all := make([]string, len(children))
	for i, c := range children {
		all[i] = c.name
	}
	return strings.Join(all, ", ")
}
