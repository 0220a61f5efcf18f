package mesh

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"sync"
	"time"
)

// Options say what a mesh consists of. Dir, Binaries and Envoy are needed; the zero value of
// everything else is useful.
type Options struct {
	// Dir is the folder that takes everything generated: configuration, keys, logs, endpoints.json.
	// It is created when it is not there. Keys that are already in it are used again, its
	// configuration files are written anew.
	Dir string
	// Binaries is the folder with the programs issuer and authz.
	Binaries string
	// Envoy is the path of the envoy program.
	Envoy string

	// RedisAddress is the host:port of a Redis that already runs. RedisServer is the path of a
	// redis-server program to start. Without either, Redis is embedded: miniredis, in this process.
	RedisAddress string
	RedisServer  string

	// Port is the gateway's port, from which all the others are counted; with 0 every listener
	// takes a free port.
	Port int
	// Gates and Issuers are how many of each there are; 0 means 1.
	Gates   int
	Issuers int
	// Users can log in. Nil means alice, with role admin, and bob; an empty Password is replaced by
	// a random one.
	Users []User
	// Upstream answers what Envoy lets pass. Nil means Echo.
	Upstream http.Handler

	// EncodeRawHeaders makes Envoy hand request headers to the gates as bytes, one entry for each
	// line the client sent.
	EncodeRawHeaders bool
	// IssuerArgs and GateArgs are further flags for every issuer and every gate. They win over the
	// configuration files.
	IssuerArgs []string
	GateArgs   []string
	// Env, when set, gives what a child, named as gate-1 or redis, has in its environment besides
	// ours.
	Env func(child string) []string
	// Rewrite, when set, may change a configuration file, named as issuer.yaml, before it is written.
	Rewrite func(name, content string) string

	// Progress, when set, is told what is being done, as "waiting for gate-1 to be ready", from one
	// goroutine at a time.
	Progress func(doing string)
	// StopWithin is how long children have to end by themselves when they are asked to; 0 means 10
	// s. Then they are killed.
	StopWithin time.Duration
}

// User is someone who can log in to the mesh.
type User struct {
	Name     string   `json:"name"`
	Password string   `json:"password"`
	Roles    []string `json:"roles"`
}

// Mesh is a running mesh. Stop ends it.
type Mesh struct {
	options   Options
	endpoints Endpoints
	family    *family
	closers   []func() error // what lives in this process, last in, first out

	stop    sync.Once
	stopped chan struct{}
	err     error // why the mesh ended; read it after stopped is closed
}

// ErrPort is wrapped by the error of Start when a port is taken that the mesh needs.
var ErrPort = errors.New("taken by another program")

// startAttempts is how often Start tries again when a free port was taken by another program before
// a child had it.
const startAttempts = 3

// Start brings up a mesh and returns when it is ready. ctx ends the start, not the mesh. When it
// fails, nothing is left running. A taken port gives an error that wraps ErrPort and names the port
// and who wanted it.
func Start(ctx context.Context, o Options) (*Mesh, error) {
	o, err := o.withDefaults()
	if err != nil {
		return nil, err
	}
	for attempt := 1; ; attempt++ {
		m, err := start(ctx, o)
		if err == nil {
			return m, nil
		}
		// With ports of its own choice, the mesh chooses others; a port the user chose is the
		// user's to change.
		if o.Port != 0 || !errors.Is(err, ErrPort) || attempt == startAttempts || ctx.Err() != nil {
			return nil, err
		}
	}
}

// Endpoints says where everything is.
func (m *Mesh) Endpoints() Endpoints { return m.endpoints }

// Child gives the child process of that name: "redis" (unless embedded or external), "issuer-1",
// "gate-1", "envoy". It is nil when there is none.
func (m *Mesh) Child(name string) *Child {
	i := slices.IndexFunc(m.family.children, func(c *Child) bool { return c.name == name })
	if i < 0 {
		return nil
	}
	return m.family.children[i]
}

// Children gives all child processes in the order in which they were started.
func (m *Mesh) Children() []*Child { return slices.Clone(m.family.children) }

// Wait returns when the mesh has ended: nil after Stop, else an error that says which child died,
// and how.
func (m *Mesh) Wait() error {
	<-m.stopped
	return m.err
}

// Done is closed when the mesh has ended.
func (m *Mesh) Done() <-chan struct{} { return m.stopped }

// Stop ends everything: Envoy first, then gates, issuers and Redis. Children that are not gone in
// time are killed. The error says which those were. After the first call it only waits.
func (m *Mesh) Stop() error {
	m.end(nil)
	return m.Wait()
}

// end stops everything once; cause is why, nil when it is wanted.
func (m *Mesh) end(cause error) {
	m.stop.Do(func() {
		err := m.family.end(m.options.StopWithin)
		if cause != nil {
			err = nil // what else went wrong on the way down follows from it
		}
		for _, closeIt := range slices.Backward(m.closers) {
			err = errors.Join(err, closeIt())
		}
		m.err = errors.Join(cause, err)
		close(m.stopped)
	})
}

func (m *Mesh) progress(format string, args ...any) {
	if m.options.Progress != nil {
		m.options.Progress(fmt.Sprintf(format, args...))
	}
}
