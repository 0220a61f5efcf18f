package extauthz

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"os"
	"runtime/debug"
	"slices"
	"strings"
	"testing"
	"time"

	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"

	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc"

	"github.com/sallyport/sallyport/authz"
	"github.com/sallyport/sallyport/authz/authztest"
	"github.com/sallyport/sallyport/authz/check"
	"github.com/sallyport/sallyport/authz/extauthz/door"
	"github.com/sallyport/sallyport/internal/audit"
	"github.com/sallyport/sallyport/internal/jose"
	"github.com/sallyport/sallyport/internal/policy"
	"github.com/sallyport/sallyport/internal/revocation"
	"github.com/sallyport/sallyport/internal/revocation/liveset"
	"github.com/sallyport/sallyport/internal/token"
)

// measuredVariable says which server a process of this test is, if it is one.
const measuredVariable = "SALLYPORT_MEASURED_SERVER"

func TestMain(m *testing.M) {
	if kind := os.Getenv(measuredVariable); kind != "" {
		if err := serveMeasured(kind, os.Stdin, os.Stdout); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

// A kind of server that is measured.
const (
	kindStock   = "stock"   // with the generated types, lets everything pass
	kindGate    = "gate"    // as it is shipped, its tokens cached
	kindNew     = "new"     // the gate without a cache
	kindAll     = "all"     // the gate with strip: all
	kindRevoked = "revoked" // the gate, of whose tokens each is revoked
	kindForged  = "forged"  // the gate, of whose tokens each has another's signature
	kindOftenGC = "gc-100"  // the gate without GOGC=400, which it has for its speed
)

// measured is what a server's process writes when it can be asked.
type measured struct {
	Address  string
	Requests [][]byte
	Garbage  [][]byte // each to be refused: forged, without a token, with half of one
}

const (
	measuredTokens  = 1000
	measuredEntries = 1_000_000
	measuredRoutes  = 50
)

// serveMeasured is the whole life of a server's process: until its standard input ends.
func serveMeasured(kind string, stdin io.Reader, stdout io.Writer) error {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	w, err := newMeasuredWorld()
	if err != nil {
		return err
	}
	m := measured{
		Address: l.Addr().String(), Requests: w.requests(kind), Garbage: w.garbage(),
	}
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	ended := make(chan error, 1)
	if kind == kindStock {
		s := grpc.NewServer()
		authv3.RegisterAuthorizationServer(s, stock{})
		go func() { ended <- s.Serve(l) }()
		defer s.Stop()
	} else {
		if kind != kindOftenGC {
			debug.SetGCPercent(400) // as cmd/authz does
		}
		s, err := w.gate(kind)
		if err != nil {
			return err
		}
		go func() { ended <- s.Run(ctx, l) }()
	}
	if err := json.NewEncoder(stdout).Encode(m); err != nil {
		return err
	}
	go func() {
		_, _ = io.Copy(io.Discard, stdin) // its end is all that is waited for
		ended <- nil
	}()
	return <-ended
}

// measuredWorld is what a gate of an installation stands on, but for Redis and the issuer.
type measuredWorld struct {
	*authztest.World
	now   func() revocation.Instant
	rules *policy.Policy
	log   *measuredCopy
	keys  measuredKeys
}

// measuredCopy is a copy of the log that is full, confirmed and has clocks.
type measuredCopy struct {
	*liveset.Set
	clock revocation.Clock
	view  revocation.View
}

func (c *measuredCopy) Now(at revocation.Instant) time.Time { return c.clock.Now(at) }
func (c *measuredCopy) Freshness(at revocation.Instant) revocation.Freshness {
	return c.view.Freshness(at)
}

// measuredKeys are keys without locks.
type measuredKeys struct {
	profile *token.Profile
	key     *jose.PublicKey
}

func (k measuredKeys) Removals() uint64 { return 0 }

func (k measuredKeys) Profile(issuer string) (*token.Profile, bool) {
	return k.profile, issuer == k.profile.Issuer
}

func (k measuredKeys) Key(_, id, _ string) (*jose.PublicKey, token.Reason) {
	if id != k.key.ID() {
		return nil, token.ReasonUnknownKey
	}
	return k.key, ""
}

func newMeasuredWorld() (*measuredWorld, error) {
	w := &measuredWorld{World: authztest.New(), now: clock()}
	w.Now, w.keys = time.Now(), measuredKeys{authztest.Profile(), w.Key.Public()}
	routes := authztest.Routes()
	for n := len(routes.Routes); n < measuredRoutes; n++ {
		routes.Routes = slices.Insert(routes.Routes, 0,
			policy.Route{Match: policy.Match{Path: fmt.Sprintf("/service-%d/**", n)}})
	}
	var err error
	if w.rules, err = policy.Compile(routes); err != nil {
		return nil, err
	}
	w.log = &measuredCopy{
		Set: liveset.New(liveset.Config{ClockSkew: 5 * time.Second}),
		view: revocation.View{
			Counted: true, Complete: true, Last: w.now(), MaxSkew: 5 * time.Second,
			MaxStaleness: time.Hour, Head: true, MaxTokenLifetime: time.Hour,
		},
	}
	for n := range measuredEntries {
		w.log.Add(&revocation.Entry{
			Kind: revocation.KindSID, Issuer: authztest.Issuer, Value: fmt.Sprintf("session~%d", n),
			Expires: w.Now.Add(time.Hour).UnixMilli(), Seq: uint64(n + 1), Reason: "logout",
		})
	}
	return w, nil
}

// gate makes a server as cmd/authz does, its audit lines written to nowhere.
func (w *measuredWorld) gate(kind string) (*Server, error) {
	c := DefaultConfig()
	c.Strip = door.StripEnvoy
	if kind == kindAll {
		c.Strip = door.StripAll
	}
	cache := authz.DefaultCacheConfig()
	if kind == kindNew {
		cache.Entries = 0
	}
	engine, err := authz.New(w.rules, authz.Options{
		Keys: w.keys, Revocations: w.log, Cache: cache, Wire: NewWire(c),
		MaxLifetime: func() (time.Duration, bool) { return w.log.view.MaxTokenLifetime, true },
	})
	if err != nil {
		return nil, err
	}
	registry := prometheus.NewRegistry()
	s, err := New(engine, c, Options{
		Ready: func() error { return nil },
		Check: check.Options{
			Instant: func() revocation.Instant { return w.now() }, Registry: registry,
			Audit: audit.New(io.Discard, audit.Options{
				Registry: registry, Queue: 4096, Limit: audit.Limit{Rate: 20, Burst: 100},
			}),
		},
	})
	if err != nil {
		return nil, err
	}
	return s, nil
}

// usual is an ordinary request, with 20 headers, one of them a token.
func usual(text string) authz.Request {
	r := authztest.Get("/api/v1/things/42?expand=all", "authorization", "Bearer "+text)
	for _, name := range strings.Fields("accept accept-encoding accept-language cache-control " +
		"cookie dnt origin pragma referer sec-fetch-mode sec-fetch-site user-agent x-forwarded-for " +
		"x-forwarded-proto x-request-id x-b3-traceid") {
		r.Headers = append(
			r.Headers,
			authz.Header{Name: name, Value: "some value of ordinary length"},
		)
	}
	return r
}

// requests are checks as Envoy sends them, with one of so many tokens each.
func (w *measuredWorld) requests(kind string) (all [][]byte) {
	for n := range measuredTokens {
		text := w.Token(func(c *token.Claims) {
			c.SessionID, c.ID = fmt.Sprintf("live~%d", n), fmt.Sprintf("token~%d", n)
			if kind == kindRevoked {
				c.SessionID = fmt.Sprintf("session~%d", n)
			}
		})
		if kind == kindForged {
			text = text[:len(text)-8] + "AAAAAAAA"
		}
		r := usual(text)
		r.Headers = append(
			r.Headers,
			authz.Header{Name: check.HeaderStripped, Value: check.Stripped},
		)
		all = append(all, encoded(r, false))
	}
	return all
}

// garbage are checks of which each is refused, in turn for a forged signature, half a token and none.
func (w *measuredWorld) garbage() (all [][]byte) {
	none := encoded(authztest.Get("/protected", check.HeaderStripped, check.Stripped), false)
	for _, forged := range w.requests(kindForged) {
		half := usual(w.Token()[:100])
		half.Headers = append(
			half.Headers,
			authz.Header{Name: check.HeaderStripped, Value: check.Stripped},
		)
		all = append(all, forged, encoded(half, false), none)
	}
	return all
}

// stock is an ext_authz server as one writes it with the generated types; it lets everything pass.
type stock struct {
	authv3.UnimplementedAuthorizationServer
}

func (stock) Check(context.Context, *authv3.CheckRequest) (*authv3.CheckResponse, error) {
	return &authv3.CheckResponse{
		Status:       &status.Status{},
		HttpResponse: &authv3.CheckResponse_OkResponse{OkResponse: &authv3.OkHttpResponse{}},
	}, nil
}
