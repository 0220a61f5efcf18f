package gate

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/sallyport/sallyport/authz"
	"github.com/sallyport/sallyport/internal/adminapi"
	"github.com/sallyport/sallyport/internal/clock"
	"github.com/sallyport/sallyport/internal/config"
	"github.com/sallyport/sallyport/internal/daemon"
	"github.com/sallyport/sallyport/internal/keyset"
	"github.com/sallyport/sallyport/internal/livefile"
	"github.com/sallyport/sallyport/internal/policy"
	"github.com/sallyport/sallyport/internal/revocation"
)

// explain asks an engine why. A key that is missing is waited for, once.
func explain(e *authz.Engine, r *authz.Request, await func(authz.Missing) bool) adminapi.Explanation {
	d, steps := authz.Explain(e, r)
	if d.Missing.Needed() && await(d.Missing) {
		d, steps = authz.Explain(e, r)
	}
	answer := adminapi.Explanation{
		Allow: d.Allow, Status: http.StatusOK, Reason: d.Reason(), Route: d.Route(),
		Steps: make([]adminapi.Step, 0, len(steps)),
	}
	if !d.Allow {
		answer.Status = d.Refused().Status
	}
	for _, s := range steps {
		answer.Steps = append(answer.Steps, adminapi.Step{
			Name: s.Name, Outcome: string(s.Outcome), Text: s.Text, Remedy: s.Remedy,
		})
	}
	return answer
}

// request is what a question asks about.
func request(q *adminapi.Question, at revocation.Instant) *authz.Request {
	r := &authz.Request{
		Method: q.Method, Host: q.Host, Path: q.Path, Peer: q.Peer, Policy: q.Policy, At: at,
	}
	for _, h := range q.Headers {
		r.Headers = append(r.Headers, authz.Header(h))
	}
	return r
}

// Offline is a gate's judgement by its configuration alone: without a revocation log, and without
// whoever would ask it.
type Offline struct {
	engine   *authz.Engine
	policies *compiled
	keys     *keyset.Sets
	// Unread is why the keys of some issuers could not be had.
	Unread error
}

// OfflineOptions say what an Offline may do.
type OfflineOptions struct {
	At    time.Time // the time by which it judges
	Fetch bool      // ask issuers for their keys; else only files are read
}

// NewOffline makes an Offline of a configuration. It writes nothing.
func NewOffline(ctx context.Context, c *Config, o OfflineOptions) (*Offline, error) {
	all, err := compile(c)
	if err != nil {
		return nil, err
	}
	way := keyset.Options{Now: clock.Now}
	if !o.Fetch {
		way.Transport = unasked{}
	}
	off := &Offline{policies: all}
	if off.keys, err = keyset.New(c.Issuers, way); err != nil {
		return nil, err
	}
	off.Unread = off.keys.Reload(ctx)
	off.engine, err = offlineEngine(all, off.keys, c, o.At)
	return off, err
}

func offlineEngine(all *compiled, keys authz.Keys, c *Config, at time.Time) (*authz.Engine, error) {
	return authz.New(all.rules, authz.Options{
		Keys: keys, Revocations: authz.Unrevoked{At: at}, Named: all.named, Realm: c.Realm,
		KeepOverrides: c.ExtAuthz.KeepOverrides,
	})
}

// NewTrial makes an Offline that takes keys for those of the issuers: for trying a policy out with
// tokens that are made for it.
func NewTrial(c *Config, keys authz.Keys, at time.Time) (*Offline, error) {
	all, err := compile(c)
	if err != nil {
		return nil, err
	}
	engine, err := offlineEngine(all, keys, c, at)
	return &Offline{engine: engine, policies: all}, err
}

// Needs returns what the gate would go by to decide, and whether it has the policy that is named.
func (o *Offline) Needs(q *adminapi.Question) (n policy.Needs, ok bool) {
	rules := o.policies.rules
	if q.Policy != "" {
		if rules = o.policies.named[q.Policy]; rules == nil {
			return n, false
		}
	}
	header := func(name string) (string, bool) {
		for _, h := range q.Headers {
			if h.Name == name {
				return h.Value, true
			}
		}
		return "", false
	}
	return policy.NeedsOf(rules, q.Method, q.Host, q.Path, header), true
}

// Explain says how the gate would decide.
func (o *Offline) Explain(ctx context.Context, q *adminapi.Question) adminapi.Explanation {
	return o.ExplainAt(ctx, q, time.Time{})
}

// ExplainAt says how the gate would decide at a time; at the one that the Offline was made for, when
// it is zero.
func (o *Offline) ExplainAt(ctx context.Context, q *adminapi.Question,
	at time.Time) adminapi.Explanation {
	return explain(o.engine, request(q, revocation.Instant{Wall: at}), func(authz.Missing) bool {
		if o.keys == nil {
			return false // all keys there are have been given
		}
		// That an issuer has no such key is known by what it says after it was asked for. What cannot be
		// had is in Unread already.
		_ = o.keys.Reload(ctx)
		return true
	})
}

// unasked is the way to issuers that nobody is to ask.
type unasked struct{}

var errUnasked = errors.New("its keys are not in a file, and were not fetched")

// RoundTrip implements http.RoundTripper.
func (unasked) RoundTrip(*http.Request) (*http.Response, error) { return nil, errUnasked }

// explainer answers operators who ask a running gate why. The zero explainer answers nobody.
type explainer struct {
	gate  *Gate
	token *livefile.File[config.Secret]
	slots chan struct{} // one for each answer under way
}

const (
	maxExplained = 4               // answers under way
	explainWait  = 2 * time.Second // for a missing key
	maxQuestion  = 64 << 10        // bytes

)

func (g *Gate) openExplainer() error {
	g.explainer = &explainer{gate: g, slots: make(chan struct{}, maxExplained)}
	var err error
	g.explainer.token, err = g.config.Admin.Token.Live(g.files, "admin.token", daemon.CheckToken)
	if err != nil {
		return fmt.Errorf("gate: %w", err)
	}
	return nil
}

// handlers are those of the admin port: none unless there is an admin token.
func (e *explainer) handlers() map[string]http.Handler {
	if e.token.Value().IsZero() {
		return nil
	}
	return map[string]http.Handler{"POST " + adminapi.ExplainPath: http.HandlerFunc(e.serve)}
}

func (e *explainer) serve(w http.ResponseWriter, r *http.Request) {
	if !daemon.HasBearer(r, e.token.Value()) {
		w.Header().Set("WWW-Authenticate", `Bearer error="invalid_token"`)
		problem(w, http.StatusUnauthorized, "invalid_token", "Send the gate's admin token as bearer.")
		return
	}
	select {
	case e.slots <- struct{}{}:
		defer func() { <-e.slots }()
	default:
		w.Header().Set("Retry-After", "1")
		problem(w, http.StatusServiceUnavailable, "temporarily_unavailable", "Too many ask at once.")
		return
	}
	var asked adminapi.Question
	if err := readQuestion(w, r, &asked); err != nil {
		problem(w, http.StatusBadRequest, "invalid_request", "The body is not a question in JSON.")
		return
	}
	answer(w, http.StatusOK, e.gate.explain(r.Context(), &asked))
}

func (g *Gate) explain(ctx context.Context, q *adminapi.Question) adminapi.Explanation {
	return explain(g.engine, request(q, g.revocations.Instant()), func(m authz.Missing) bool {
		bounded, cancel := context.WithTimeout(ctx, explainWait)
		defer cancel()
		return g.keys.Await(bounded, m.Issuer, m.KeyID)
	})
}

// readQuestion reads one JSON object and nothing after it.
func readQuestion(w http.ResponseWriter, r *http.Request, to *adminapi.Question) error {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxQuestion))
	if err != nil {
		return err
	}
	d := json.NewDecoder(bytes.NewReader(body))
	d.DisallowUnknownFields()
	if err := d.Decode(to); err != nil {
		return err
	}
	if _, err := d.Token(); err != io.EOF {
		return errors.New("expected one object")
	}
	return nil
}

func problem(w http.ResponseWriter, status int, code, description string) {
	answer(w, status, adminapi.Problem{Error: code, Description: description})
}

func answer(w http.ResponseWriter, status int, v any) {
	text, err := json.Marshal(v)
	if err != nil { // strings always marshal
		status, text = http.StatusInternalServerError, []byte(`{"error":"internal"}`)
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = w.Write(text) // whoever asked has gone
}
