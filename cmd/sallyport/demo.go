package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/sallyport/sallyport/internal/mesh"
)

// demo is what the flags of `sallyport demo` say.
type demo struct {
	once  bool
	dir   string
	redis string
	gates int
	port  int
	envoy string

	inProcess bool
}

func newDemo() *cobra.Command {
	d := &demo{}
	cmd := &cobra.Command{
		Use:   "demo",
		Short: "Run issuer, gates, Envoy and an upstream on this machine, and show a token's whole life",
		Long: `Runs an issuer, gates, Envoy and a small upstream on this machine, on a Redis inside this
process, with keys and users made for the demo. Then it takes a tour: each step as the curl
line that you could paste, with its status and its milliseconds. After the tour it serves
until Ctrl-C.

The folder of the demo (--dir) holds the configuration files that everything runs from; they
are a good starting point for an installation of your own. endpoints.json in it says where
everything is; it appears when everything is ready.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			ctx, stop := untilSignal(cmd.Context())
			defer stop()
			return d.run(ctx, newScreen(cmd.OutOrStdout()))
		},
	}
	f := cmd.Flags()
	f.BoolVar(&d.once, "once", false,
		"exit after the tour, with status 0 only if every step went as expected")
	f.StringVar(&d.dir, "dir", "",
		"keep everything generated in this folder (default: a temporary one, removed at the end)")
	f.StringVar(&d.redis, "redis", "",
		"host:port of the Redis to use, instead of the one inside this process; "+
			"its password comes from $SALLYPORT_REDIS_PASSWORD_FILE")
	f.IntVar(&d.gates, "gates", 1, "how many gates Envoy balances over")
	f.BoolVar(&d.inProcess, "in-process", false,
		"put the gate into Envoy's own process, as its dynamic module (\"make module\" builds it)")
	f.IntVar(&d.port, "port", 10000,
		"the gateway's port, from which the others are counted; 0: every port is a free one")
	f.StringVar(&d.envoy, "envoy", "",
		"path of envoy (default: $SALLYPORT_ENVOY, then what \"make envoy\" has fetched, then $PATH)")
	return cmd
}

// untilSignal ends the context on the first signal that asks for an end; a second one ends the
// process at once. SIGPIPE, a reader of our output that has gone, ends the context too, and never
// the process: what was started has to be stopped first.
func untilSignal(parent context.Context) (context.Context, context.CancelFunc) {
	ctx, stop := signal.NotifyContext(parent, syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP)
	ctx, cancel := context.WithCancel(ctx)
	context.AfterFunc(ctx, stop)
	// Not handled, SIGPIPE would end this process and leave the processes that it has started running.
	broken := make(chan os.Signal, 1)
	signal.Notify(broken, syscall.SIGPIPE)
	go func() {
		select {
		case <-broken:
			cancel()
		case <-ctx.Done():
		}
	}()
	return ctx, cancel
}

func (d *demo) run(ctx context.Context, s *screen) (err error) {
	o, err := d.options()
	if err != nil {
		return err
	}
	if o.Dir == "" {
		if o.Dir, err = mesh.TemporaryDir(); err != nil {
			return err
		}
		defer func() { err = errors.Join(err, os.RemoveAll(o.Dir)) }()
	}
	o.Progress = s.progress
	s.print("%s",
		s.bold("Sallyport: issuer, "+count(o.Gates, "gate")+", Envoy and an upstream, on this machine."))
	m, err := mesh.Start(ctx, o)
	s.done()
	if err != nil {
		return d.explain(ctx, err)
	}
	defer func() {
		s.progress("stopping")
		if stopped := m.Stop(); !errors.Is(err, stopped) { // it may be what show has returned already
			err = errors.Join(err, stopped)
		}
		s.done()
		if err == nil {
			s.print("Everything is stopped.")
		}
	}()
	return d.show(ctx, s, m)
}

// show takes the tour, and then serves.
func (d *demo) show(ctx context.Context, s *screen, m *mesh.Mesh) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() { // a mesh that has ended ends the tour
		select {
		case <-m.Done():
			cancel()
		case <-ctx.Done():
		}
	}()
	tour := newTour(m.Endpoints(), s)
	tourErr := tour.run(ctx)
	if ended(m) || ctx.Err() != nil {
		return interrupted(m)
	}
	if tourErr != nil && d.once {
		return tourErr
	}
	if tourErr == nil {
		s.print("\n%s", s.green(fmt.Sprintf("All %d steps went as expected.", tour.taken)))
	} else {
		s.print("\n%s", s.red(tourErr.Error()))
	}
	if d.once {
		return nil
	}
	d.printAddresses(s, m)
	<-ctx.Done()
	if ended(m) {
		return m.Wait()
	}
	s.print("")
	return tourErr
}

// interrupted is the error of a tour that was cut short.
func interrupted(m *mesh.Mesh) error {
	if ended(m) {
		if err := m.Wait(); err != nil {
			return err
		}
	}
	return errors.New("interrupted before the end of the tour")
}

func ended(m *mesh.Mesh) bool {
	select {
	case <-m.Done():
		return true
	default:
		return false
	}
}

// options turns flags into what to start.
func (d *demo) options() (mesh.Options, error) {
	o := mesh.Options{Dir: d.dir, RedisAddress: d.redis, Gates: d.gates, Port: d.port, Envoy: d.envoy}
	if d.gates < 1 {
		return o, fmt.Errorf("--gates: expected at least 1, got %d", d.gates)
	}
	if d.inProcess && d.gates > 1 {
		return o, fmt.Errorf("--in-process: expected one gate, the one inside Envoy, got --gates %d",
			d.gates)
	}
	if host, port, found := strings.Cut(d.redis, ":"); d.redis != "" &&
		(!found || host == "" || port == "") {
		return o, fmt.Errorf("--redis: expected host:port, got %q", d.redis)
	}
	self, err := os.Executable()
	if err == nil {
		self, err = filepath.EvalSymlinks(self)
	}
	if err != nil {
		return o, fmt.Errorf("where are issuer and authz? %w", err)
	}
	o.Binaries = filepath.Dir(self)
	if d.inProcess {
		o.Module = filepath.Join(o.Binaries, mesh.ModuleFile)
	}
	if o.Envoy == "" {
		// The working directory, for `go run`, and the clone that this program was built in, as
		// .tools/bin/sallyport.
		o.Envoy, err = mesh.FindEnvoy(filepath.Join(o.Binaries, "..", ".."))
	}
	return o, err
}

// explain adds what the user can do to an error of the start.
func (d *demo) explain(ctx context.Context, err error) error {
	switch {
	case ctx.Err() != nil:
		return errors.New("interrupted while it was starting")
	case errors.Is(err, mesh.ErrPort) && d.port != 0:
		return fmt.Errorf(
			"%w\nchoose another port with --port, as --port %d, or any free ones with --port 0",
			err, otherPort(d.port))
	}
	return err
}

// otherPort returns a port far from one that is taken.
func otherPort(taken int) int {
	if taken == 20000 {
		return 30000
	}
	return 20000
}

// printAddresses prints where everything is and who can log in.
func (d *demo) printAddresses(s *screen, m *mesh.Mesh) {
	e := m.Endpoints()
	s.print("")
	row := func(name, at, rest string) {
		s.print("  %-9s %-24s %s", s.bold(name)+strings.Repeat(" ", max(0, 9-len(name))), at, rest)
	}
	row("gateway", e.Gateway, s.dim("everything goes through it"))
	row("issuer", e.Issuer, "admin "+e.IssuerAdmin)
	for _, g := range e.Gates {
		row(g.Name, cmp.Or(g.GRPC, "inside Envoy"), "admin "+g.Admin)
	}
	row("envoy", "", "admin "+e.EnvoyAdmin)
	row("redis", e.Redis, s.dim(redisKind(d.redis)))
	row("upstream", e.Upstream, s.dim("what Envoy protects; it echoes requests"))
	s.print("")
	for _, u := range e.Users {
		row(u.Name, u.Password, "role "+strings.Join(u.Roles, ", "))
	}
	s.print("")
	s.print("  Configuration, keys and logs are in %s%s", filepath.Dir(e.KeyDir), s.dim(d.fate()))
	d.printOperating(s, e)
	s.print("\nServing until Ctrl-C.")
}

// printOperating prints lines to paste into another shell.
func (d *demo) printOperating(s *screen, e mesh.Endpoints) {
	program := shellQuote(self())
	s.print("\n  In another shell:\n")
	s.print("  export %s=%s %s=%s", adminURLVariable, e.IssuerAdmin, adminTokenVariable,
		shellQuote(e.AdminTokenFile))
	s.print("  %s status", program)
	s.print("  %s revoke --sub %s --dry-run", program, e.Users[0].Name)
	s.print("  %s revocations watch", program)
}

// shellQuote returns a path as one word of a POSIX shell.
func shellQuote(path string) string {
	if !strings.ContainsFunc(path,
		func(r rune) bool { return !strings.ContainsRune(plainInShells, r) }) {
		return path
	}
	return "'" + strings.ReplaceAll(path, "'", `'\''`) + "'"
}

const plainInShells = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789/._-+:@%"

// self is this program as it can be called from any folder.
func self() string {
	path, err := os.Executable()
	if err != nil {
		return os.Args[0]
	}
	return path
}

func (d *demo) fate() string {
	if d.dir == "" {
		return ", removed at the end (keep them with --dir)"
	}
	return ""
}

func redisKind(address string) string {
	if address == "" {
		return "embedded: it forgets everything at the end"
	}
	return "yours"
}

func count(n int, what string) string {
	if n == 1 {
		return "a " + what
	}
	return strconv.Itoa(n) + " " + what + "s"
}
