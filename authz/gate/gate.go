// Package gate is a whole gate, put together from its configuration: key sets, a copy of the
// revocation log, the policy, the engine, and the server that Envoy asks, which Options bring.
//
// Load reads a Config, New puts a gate together, and Run runs it: cmd/authz does no more. A
// program that decides in its own process asks Engine while Run runs; the engine refuses what it
// cannot know yet, and Ready returns what it waits for. Inside Envoy (Options.Host) a gate has no
// port for Envoy to ask: its Filter is handed each request.
package gate

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net"
	"os"
	"reflect"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/sallyport/sallyport/authz"
	"github.com/sallyport/sallyport/authz/check"
	"github.com/sallyport/sallyport/authz/extauthz/door"
	"github.com/sallyport/sallyport/authz/filter"
	"github.com/sallyport/sallyport/authz/httpcheck"
	"github.com/sallyport/sallyport/internal/audit"
	"github.com/sallyport/sallyport/internal/clock"
	"github.com/sallyport/sallyport/internal/daemon"
	"github.com/sallyport/sallyport/internal/decisionlog"
	"github.com/sallyport/sallyport/internal/keyset"
	"github.com/sallyport/sallyport/internal/listen"
	"github.com/sallyport/sallyport/internal/livefile"
	"github.com/sallyport/sallyport/internal/policy"
	"github.com/sallyport/sallyport/internal/redisconn"
	"github.com/sallyport/sallyport/internal/revocation"
	"github.com/sallyport/sallyport/internal/revocation/redislog"
)

// Options is what a gate gets from the program that it runs in. Audit is needed.
type Options struct {
	Version string       // of the program, in the log, metrics and the list of gates
	Audit   io.Writer    // where security events go, and decisions for which no file is named; a JSON line each
	Logger  *slog.Logger // nil: silent
	// File is where the configuration was read from, and Read reads it again from other content. The
	// policy in it is put in force when the file changes; without a file it stays as it is.
	File string
	Read func(content []byte) (*Config, error)
	// One of these two is needed, and no more: Transport makes the server that Envoy asks
	// (extauthz.GRPC), Host is the Envoy inside which the gate decides.
	Transport door.Transport
	Host      filter.Host
}

// Gate is all that decides on requests in a process.
type Gate struct {
	config      *Config
	options     Options
	registry    *prometheus.Registry
	files       *livefile.Files
	policy      *livefile.File[*compiled]
	redis       *redisconn.Client
	keys        *keyset.Sets
	revocations *redislog.Gate
	engine      *authz.Engine
	server      door.Server       // nil inside Envoy
	httpServer  *httpcheck.Server // nil unless other proxies ask, too
	filter      *filter.Filter    // nil unless inside Envoy
	audit       *audit.Log
	decisions   *decisionlog.Log // nil unless there is a decision log
	explainer   *explainer
	admin       net.Listener         // nil unless Listen has opened it, and nobody has closed it
	versions    *revocation.Versions // of what the module remembers; nil unless inside Envoy

	stopping atomic.Bool  // Run has been told to stop
	open     atomic.Int32 // doors that may still answer somebody
	stopped  atomic.Bool  // none does any more
}

// New puts a gate together and starts nothing. Whoever does not run it closes it.
func New(c *Config, o Options) (*Gate, error) {
	// config.Load has checked it. A Config that code has made has not been through that.
	if err := c.checkIssuers(); err != nil {
		return nil, fmt.Errorf("gate: %w", err)
	}
	if (o.Transport == nil) == (o.Host == nil) {
		return nil, errors.New("gate: expected a Transport, by which Envoy asks, or the Host that the " +
			"gate is inside, got none of them or both")
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Audit != nil {
		o.Audit = &lineWriter{to: o.Audit}
	}
	g := &Gate{config: c, options: o, registry: prometheus.NewRegistry()}
	if o.Host != nil {
		g.versions = o.Host.Versions()
	}
	g.audit = audit.New(o.Audit, audit.Options{
		Now:      clock.Now,
		Logger:   o.Logger,
		Registry: g.registry,
		Queue:    auditQueue,
		Limit:    c.Audit.limit(),
	})
	// Each of these stands on those before it.
	for _, open := range []func() error{
		g.openFiles, g.openKeys, g.openRevocations, g.openPolicy, g.openEngine, g.openDecisions,
		g.openDoor, g.openHTTPDoor, g.openExplainer,
	} {
		if err := open(); err != nil {
			return nil, errors.Join(err, g.Close())
		}
	}
	g.warnOfScopes(g.policy.Value().rules)
	for _, note := range doorNotes(c, o, g.policy.Value()) {
		o.Logger.Warn("gate: " + note)
	}
	return g, nil
}

// doorNotes returns what is worth a second look in how Envoy asks. Inside Envoy a gate sees all
// headers and removes them itself, whatever is said of that.
func doorNotes(c *Config, o Options, all *compiled) []string {
	if o.Host != nil {
		return nil
	}
	made, read := all.rules.ClaimHeaders(), all.rules.ReadHeaders()
	for _, p := range all.named {
		made, read = slices.Concat(made, p.ClaimHeaders()), slices.Concat(read, p.ReadHeaders())
	}
	slices.Sort(made)
	slices.Sort(read)
	return append(c.ExtAuthz.Notes(),
		c.ExtAuthz.HeaderNotes(slices.Compact(made), slices.Compact(read))...)
}

// auditQueue is how many audit lines may wait to be written before one is dropped and counted.
const auditQueue = 4096

func (g *Gate) openFiles() (err error) {
	g.files, err = livefile.New(g.options.Logger, g.registry)
	return err
}

func (g *Gate) openKeys() (err error) {
	g.keys, err = keyset.New(g.config.Issuers, keyset.Options{
		Now:       clock.Now,
		Logger:    g.options.Logger,
		Registry:  g.registry,
		CacheDir:  string(g.config.KeyCacheDir),
		Files:     g.files,
		OnRemoval: g.versions.MoveAll,
	})
	return err
}

func (g *Gate) openRevocations() (err error) {
	if g.redis, err = redisconn.OpenWith(g.config.Redis, g.files); err != nil {
		return err
	}
	g.revocations, err = redislog.NewGate(g.redis, g.config.Revocation.Config, redislog.Options{
		Name:         g.config.Name,
		Version:      g.options.Version,
		Logger:       g.options.Logger,
		Registry:     g.registry,
		OnKeyRevoked: g.keys.RemoveKey,
		Versions:     g.versions,
		KeySetAge:    g.keySetAge,
		Snapshot:     g.config.Revocation.Snapshot,
		Stopped:      g.stopped.Load,
	})
	return err
}

// keySetAge returns the age of the oldest key set, for the list of gates; 0 while there is none.
func (g *Gate) keySetAge() time.Duration {
	var oldest time.Duration
	for _, s := range g.keys.Status() {
		if !s.Fetched.IsZero() {
			oldest = max(oldest, clock.Now().Sub(s.Fetched))
		}
	}
	return oldest
}

// compiled is a configuration with its policies compiled.
type compiled struct {
	config *Config
	rules  *policy.Policy
	named  map[string]*policy.Policy
	shadow *policy.Policy // nil: none
}

// compile compiles all policies, or none.
func compile(c *Config) (*compiled, error) {
	rules, named, err := policy.CompileAll(c.Policy, c.Policies)
	if err != nil {
		return nil, fmt.Errorf("gate: %w", err)
	}
	all := &compiled{config: c, rules: rules, named: named}
	all.shadow = all.named[c.Shadow]
	return all, nil
}

// openPolicy reads the policy out of the configuration's file, and again when that changes. Of a
// file that is being written, a part may read like a policy that lets more through, so a change
// must stay as it is from one look to the next.
func (g *Gate) openPolicy() (err error) {
	// Nothing can be read a second time from no file, and from a pipe.
	info, statErr := os.Stat(g.options.File)
	if g.options.File == "" || statErr == nil && !info.Mode().IsRegular() {
		all, err := compile(g.config)
		g.policy = livefile.Fixed(all)
		return err
	}
	g.policy, err = livefile.Open(g.files, livefile.Spec[*compiled]{
		Setting: "policy", Paths: []string{g.options.File}, Quiet: true, Then: g.inForce,
		Parse: func(contents [][]byte) (*compiled, error) {
			c, err := g.options.Read(contents[0])
			if err != nil {
				return nil, err
			}
			return compile(c)
		},
	})
	return err
}

// inForce puts another policy in force, and warns of other settings that have changed with it.
func (g *Gate) inForce(r *compiled) {
	g.engine.SetPolicies(r.rules, r.named)
	g.engine.SetShadow(r.shadow)
	g.versions.MoveAll()
	g.warnOfScopes(r.rules)
	g.options.Logger.Info("gate: policy in force", "routes", len(r.config.Policy.Routes))
	if !reflect.DeepEqual(r.config.apartFromPolicy(), g.config.apartFromPolicy()) {
		g.options.Logger.Warn("gate: settings other than the policy have changed; they take a restart")
	}
}

func (g *Gate) openEngine() (err error) {
	o := authz.Options{
		Keys:          g.keys,
		Revocations:   g.revocations,
		Realm:         g.config.Realm,
		Cache:         g.config.Cache,
		KeepOverrides: g.config.ExtAuthz.KeepOverrides,
		MaxLifetime:   g.revocations.MaxTokenLifetime,
		KeepClaims:    g.config.Decisions.Enabled && len(g.config.Decisions.Claims) > 0,
	}
	// There is a server, or a filter, before anybody asks the engine.
	if g.options.Host != nil {
		o.Wire = filter.Wire
		o.OnPanic = func(what string, stack []byte) { g.filter.Panicked(what, stack) }
	} else {
		o.Wire = g.options.Transport.Wire(g.config.ExtAuthz)
		o.OnPanic = func(what string, stack []byte) { g.server.Panicked(what, stack) }
	}
	all := g.policy.Value()
	o.Named = all.named
	if g.engine, err = authz.New(all.rules, o); err != nil {
		return err
	}
	g.engine.SetShadow(all.shadow)
	return nil
}

// lineWriter takes whole lines from several, one after the other: audit lines, and those of the
// decision log where that has no file of its own.
type lineWriter struct {
	mu sync.Mutex
	to io.Writer
}

func (w *lineWriter) Write(line []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.to.Write(line)
}

func (g *Gate) openDecisions() (err error) {
	if g.config.Decisions.Enabled {
		g.decisions, err = decisionlog.New(g.config.Decisions, decisionlog.Options{
			Now: clock.Now, Logger: g.options.Logger, Registry: g.registry, Stdout: g.options.Audit,
		})
	}
	return err
}

// openDoor makes what requests come through: the server that Envoy asks, or the filter inside it.
func (g *Gate) openDoor() (err error) {
	o := check.Options{
		Instant:   g.revocations.Instant,
		Keys:      g.keys,
		Decisions: g.decisions,
		Logger:    g.options.Logger,
		Registry:  g.registry,
	}
	if g.config.Audit.Rate > 0 { // else a refusal need not even be described
		o.Audit = g.audit
	}
	if g.options.Host != nil {
		o.KeyWait, o.KeyWaiters = g.config.ExtAuthz.KeyWait, g.config.ExtAuthz.KeyWaiters
		g.filter, err = filter.New(g.engine, filter.Options{
			Host: g.options.Host, Revocations: g.revocations,
			MaxStaleness: g.config.Revocation.MaxStaleness,
			Streams:      g.config.ExtAuthz.Streams,
			Marked:       g.config.ExtAuthz.Strip == door.StripEnvoy,
			Check:        o,
		})
		return err
	}
	tls, err := g.config.ExtAuthz.TLS.Open(g.files, "ext_authz.tls", door.Protocol)
	if err != nil {
		return err
	}
	g.server, err = g.options.Transport.Server(g.engine, g.config.ExtAuthz, door.Options{
		Ready: g.Ready, Check: o, TLS: tls,
	})
	return err
}

// openHTTPDoor makes the server that other proxies ask.
func (g *Gate) openHTTPDoor() error {
	c := g.config.HTTPCheck
	if !c.Enabled() {
		return nil
	}
	if g.server == nil {
		return errors.New("gate: http_check.listen: expected none inside Envoy, where a gate has no " +
			"ports: other proxies ask a gate of their own")
	}
	tls, err := c.TLS.Open(g.files, "http_check.tls", httpcheck.Protocol)
	if err != nil {
		return err
	}
	g.httpServer, err = httpcheck.New(c, httpcheck.Options{
		Checker: g.server.Checker(), Engine: g.engine, Streams: g.config.ExtAuthz.Streams, TLS: tls,
	})
	return err
}

// Engine returns what decides. It may be asked while Run runs.
func (g *Gate) Engine() *authz.Engine { return g.engine }

// Filter returns what is handed the requests inside Envoy; nil elsewhere.
func (g *Gate) Filter() *filter.Filter { return g.filter }

// Metrics returns the metrics of the gate and, once Run runs, of the process.
func (g *Gate) Metrics() *prometheus.Registry { return g.registry }

var errStopping = errors.New("stopping")

// Ready returns nil while the gate may be asked, and otherwise what it waits for. From the moment
// that Run is told to stop it is not ready, so that Envoy sends no more requests to it, and still
// answers those that come.
func (g *Gate) Ready() error {
	if g.stopping.Load() {
		return errStopping
	}
	return errors.Join(g.keys.Ready(), g.revocations.Ready())
}

// Listen opens the admin port ahead of Run. Inside Envoy whoever starts the gate calls it, to hear
// at once of a port that is taken: Envoy's start waits for the gate, and would wait for ever.
func (g *Gate) Listen() (err error) {
	g.admin, err = daemon.ListenAdmin(g.config.Admin.Config)
	return err
}

// Run opens the gate's ports and runs it until ctx ends. It closes the gate.
func (g *Gate) Run(ctx context.Context) error {
	doors, err := g.doors()
	if err != nil {
		return errors.Join(err, g.Close())
	}
	// At once, not only when the server drains: during the drain's delay each Envoy has to see it. It
	// cannot panic: it sets a word.
	defer context.AfterFunc(ctx, func() { g.stopping.Store(true) })()
	defer g.stopping.Store(true) // and for good, however it has ended
	admin := g.admin
	g.admin = nil // it is closed there
	err = daemon.Run(ctx, daemon.Options{
		Name:          "authz",
		Version:       g.options.Version,
		Admin:         g.config.Admin.Config,
		AdminListener: admin,
		Logger:        g.options.Logger,
		Registry:      g.registry,
		Drain:         g.config.Drain,
		Reload:        g.reload,
		Guest:         g.options.Host != nil,
		Handlers:      g.explainer.handlers(),
		InForce:       func() map[string]string { return map[string]string{"policy": g.policy.Digest()} },
	},
		append([]daemon.Part{
			{Name: "files", Run: g.files.Run},
			{Name: "keys", Run: g.keys.Run, Ready: g.keys.Ready},
			{Name: "revocation", Run: g.revocations.Run, Ready: g.revocations.Ready},
		}, doors...)...,
	)
	return errors.Join(err, g.Close())
}

// doors returns the parts that requests come through.
func (g *Gate) doors() ([]daemon.Part, error) {
	g.options.Logger.Info("gate: starting", "name", g.config.Name, "version", g.options.Version)
	if g.filter != nil {
		return []daemon.Part{g.door("filter", "inside Envoy", g.filter.Run, nil)}, nil
	}
	grpc, err := listen.Open(g.config.Listen, g.config.ExtAuthz.Config)
	if err != nil {
		return nil, err
	}
	var doors []daemon.Part
	if g.httpServer != nil {
		other, err := listen.Open(g.config.HTTPCheck.Listen, g.config.HTTPCheck.Config)
		if err != nil {
			return nil, errors.Join(err, grpc.Close())
		}
		doors = append(doors, g.door("http_check", other.Addr().String(),
			func(ctx context.Context) error { return g.httpServer.Run(ctx, other) }, g.httpServer.Drain))
	}
	// Last, so that it drains first: over HTTP, a connection that nothing has come by holds it up.
	return append(doors, g.door("ext_authz", grpc.Addr().String(),
		func(ctx context.Context) error { return g.server.Run(ctx, grpc) }, g.server.Drain)), nil
}

// door returns one part that requests come through.
func (g *Gate) door(name, where string, serve func(context.Context) error,
	drain func(context.Context)) daemon.Part {
	g.open.Add(1)
	g.options.Logger.Info("gate: listening", "door", name, "listen", where)
	return daemon.Part{Name: name, Drain: drain, Run: func(ctx context.Context) error {
		err := serve(ctx)
		if g.open.Add(-1) == 0 { // not after a panic: then nobody knows
			g.stopped.Store(true)
		}
		return err
	}}
}

// reload puts in force what all files hold now, the policy's too, and has all key sets fetched. A
// file that is not right changes nothing.
func (g *Gate) reload(ctx context.Context) error {
	return errors.Join(g.files.Reload(ctx), g.keys.Reload(ctx))
}

// Close closes what New has opened.
func (g *Gate) Close() error {
	var errs []error
	if g.admin != nil {
		errs = append(errs, g.admin.Close())
	}
	if g.redis != nil {
		errs = append(errs, g.redis.Close())
	}
	if g.decisions != nil {
		errs = append(errs, g.decisions.Close())
	}
	// The audit log last, so that it has the lines of all others.
	return errors.Join(append(errs, g.audit.Close())...)
}

func (c *Config) policyNotes(rules *policy.Policy) []string {
	return slices.Concat(policy.OpenNotes(rules), rules.RoleNotes(c.rolePrefixes()), rules.CaseNotes(),
		rules.IssuerNotes(len(c.Issuers) > 1))
}

// Check puts the gate together as Run would need it, starts nothing and writes nothing, and returns
// what Run would have met and what would keep the gate from being ready, besides notes on what the
// policy's author may not have meant.
func Check(ctx context.Context, c *Config, o Options) (notes []string, err error) {
	errs := []error{
		keyset.CheckCacheDir(string(c.KeyCacheDir)),
		c.Revocation.Snapshot.Check(),
		c.Decisions.Check(),
	}
	if o.Host == nil {
		errs = append(errs, listen.CheckSocket(c.Listen), listen.CheckSocket(c.HTTPCheck.Listen))
	}
	writesNothing := *c
	// A gate makes these folders and tidies them.
	writesNothing.KeyCacheDir, writesNothing.Revocation.Snapshot.File = "", ""
	writesNothing.Decisions.File = ""
	o.Audit, o.Logger = io.Discard, nil
	g, err := New(&writesNothing, o)
	if err != nil {
		return nil, errors.Join(append(errs, err)...)
	}
	rules := g.policy.Value().rules
	for _, note := range doorNotes(c, o, g.policy.Value()) {
		notes = append(notes, "note: "+note)
	}
	notes = append(notes, c.audienceNotes()...)
	notes = append(notes, c.policyNotes(rules)...)
	named := g.policy.Value().named
	for _, name := range slices.Sorted(maps.Keys(named)) {
		for _, note := range c.policyNotes(named[name]) {
			notes = append(notes, note+" (policies."+name+")")
		}
	}
	return notes, errors.Join(append(errs, g.keys.Check(ctx), g.Close())...)
}
