package issuer

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"net/http"
	"strings"
	"time"

	"github.com/sallyport/sallyport/internal/audit"
	"github.com/sallyport/sallyport/internal/credential"
	"github.com/sallyport/sallyport/internal/revocation"
	"github.com/sallyport/sallyport/internal/revocation/redislog"
	"github.com/sallyport/sallyport/internal/session"
)

// Inventory is what the log knows of those who follow it and of itself; *redislog.Issuer is one.
type Inventory interface {
	Gates(ctx context.Context) ([]redislog.Line, error)
	Issuers(ctx context.Context) ([]redislog.Line, error)
	Entries(ctx context.Context, after uint64, limit int) ([]revocation.Entry, error)
}

// adminEndpoints is everything that the issuer serves to operators, on the admin port. All of it
// needs the admin token.
func adminEndpoints() []endpoint {
	return []endpoint{
		{
			method: http.MethodPost, path: "/admin/revocations", name: "admin_revoke",
			query: []string{"wait", "dry_run"}, handle: (*Server).revoke,
		},
		{
			method: http.MethodGet, path: "/admin/revocations", name: "admin_entries",
			query:  []string{"after", "limit", "kind", "value", "issuer"},
			handle: (*Server).entries,
		},
		{
			method: http.MethodGet, path: "/admin/revocations/{seq}", name: "admin_entry",
			handle: (*Server).entryAt,
		},
		{
			method: http.MethodPost, path: "/admin/users/{name}/logout", name: "admin_logout",
			query: []string{"wait"}, handle: (*Server).logoutUser,
		},
		{method: http.MethodGet, path: "/admin/status", name: "admin_status", handle: (*Server).status},
	}
}

// AdminHandlers are what the issuer adds to the admin port, by pattern: nothing unless an admin
// token is configured.
func (s *Server) AdminHandlers() map[string]http.Handler {
	if s.cfg.Admin.Token.IsZero() {
		return nil
	}
	mux := http.NewServeMux()
	allowed := map[string][]string{}
	for _, e := range adminEndpoints() {
		mux.Handle(e.method+" "+e.path, s.guard(e, []chan struct{}{s.adminSlots}, s.operator))
		allowed[e.path] = append(allowed[e.path], e.method)
	}
	for path, methods := range allowed {
		mux.Handle(path, s.wrongMethod("admin_other", strings.Join(methods, ", ")))
	}
	mux.Handle("/admin/", s.answering("admin_other", notFound))
	return map[string]http.Handler{"/admin/": mux}
}

// operator lets a request pass that carries the admin token. It is counted against the peer itself:
// nothing on the admin port comes from clients behind a proxy.
func (s *Server) operator(r *http.Request) (client, error) {
	from := clientOf(r, nil)
	if wait := s.adminThrottle.take(from.counted, s.now()); wait > 0 {
		return from, tooManyRequests(wait)
	}
	lines := r.Header.Values("Authorization")
	if len(lines) != 1 {
		return from, errNotOperator
	}
	scheme, secret, _ := strings.Cut(lines[0], " ")
	given, want := sha256.Sum256([]byte(secret)), sha256.Sum256([]byte(s.adminToken.Value().Reveal()))
	if subtle.ConstantTimeCompare(given[:], want[:]) != 1 || !strings.EqualFold(scheme, "Bearer") {
		return from, errNotOperator
	}
	return from, nil
}

// revoke answers POST /admin/revocations
// {"kind","value","issuer","issued_before","reason","actor"}: kind is jti, sid, sub, client,
// tenant, kid or iss. issuer is this one unless it is given; issued_before (RFC 3339) is now. With
// ?dry_run=true nothing is done: the answer says what would be.
func (s *Server) revoke(r *request) (reply, error) {
	wait, err := s.parseWait(r)
	if err != nil {
		return reply{}, err
	}
	members, err := r.members("kind", "value", "issuer", "issued_before", "reason", "actor")
	if err != nil {
		return reply{}, err
	}
	wanted, err := s.parseRevocation(members)
	if err != nil {
		return reply{}, err
	}
	if dry, err := parseDryRun(r); err != nil {
		return reply{}, err
	} else if dry {
		return s.preview(r.Context(), wanted)
	}
	event := s.event(r, audit.Revoke)
	event.Kind, event.Value, event.Issuer, event.Actor = wanted.Kind.String(), wanted.Value, wanted.Issuer, wanted.Actor
	event.RevocationReason = wanted.Reason
	receipt, sessions, err := s.carryOut(r.Context(), wanted)
	return s.revokedByOperator(r.Context(), event, wait, receipt, sessions, err)
}

// revokedByOperator records what an operator has ordered and answers it. sessions is nil where they
// are not kept by what was named.
func (s *Server) revokedByOperator(
	ctx context.Context,
	event audit.Event,
	wait time.Duration,
	receipt revocation.Receipt,
	sessions *int,
	err error,
) (reply, error) {
	event.Seq = receipt.Seq
	s.record(event, failureOf(err))
	if err != nil {
		return reply{}, err
	}
	s.metrics.ended.WithLabelValues("operator").Inc()
	answer, err := s.acknowledge(ctx, receipt, wait)
	if body, ok := answer.body.(revoked); ok {
		body.Issuer, body.Sessions = event.Issuer, sessions
		answer.body = body
	}
	return answer, err
}

func (s *Server) parseRevocation(members map[string]string) (revocation.Request, error) {
	kind, err := revocation.ParseKind(members["kind"])
	if err != nil {
		return revocation.Request{}, invalidRequest(
			"kind is not jti, sid, sub, client, tenant, kid or iss")
	}
	wanted := revocation.Request{
		Kind: kind, Issuer: orElse(members["issuer"], s.cfg.Issuer), Value: members["value"],
		Reason: orElse(members["reason"], "operator"), Actor: orElse(members["actor"], "operator"),
	}
	if before := members["issued_before"]; before != "" {
		if wanted.IssuedBefore, err = time.Parse(time.RFC3339, before); err != nil {
			return revocation.Request{}, invalidRequest(
				"issued_before is not a time as 2026-01-31T12:00:00Z")
		}
	}
	if err := wanted.Validate(); err != nil {
		return revocation.Request{}, invalidRequest(strings.TrimPrefix(err.Error(), "revocation: "))
	}
	if wanted.Issuer == s.cfg.Issuer {
		err = ofOurs(&wanted)
	}
	return wanted, err
}

// ofOurs refuses what makes no sense for sessions of our own, and finds the one spelling of a
// user's name: a revocation of another one would be stored and end nothing.
func ofOurs(wanted *revocation.Request) (err error) {
	switch wanted.Kind {
	case revocation.KindSub:
		if !wanted.IssuedBefore.IsZero() {
			return invalidRequest("a user of this issuer is logged out as of now: leave issued_before out")
		}
		if wanted.Value, err = credential.Normalize(wanted.Value); err != nil {
			return invalidRequest("there can be no user of that name")
		}
	case revocation.KindSID:
		if _, err := session.ParseID(wanted.Value); err != nil {
			return invalidRequest("value is not the id of a session of this issuer")
		}
	}
	return nil
}

// carryOut ends sessions of our own where that is what was asked for, so that their refresh tokens
// end too; else it appends. Of our own sessions it tells how many were known.
func (s *Server) carryOut(ctx context.Context,
	wanted revocation.Request) (revocation.Receipt, *int, error) {
	ours := wanted.Issuer == s.cfg.Issuer
	switch {
	case ours && wanted.Kind == revocation.KindSID:
		return s.endOne(ctx, wanted)
	case ours && wanted.Kind == revocation.KindSub:
		done, err := s.sessions.EndAll(ctx, wanted.Value, wanted.Reason, wanted.Actor)
		return done.Receipt, &done.Sessions, err
	}
	receipt, err := s.log.Append(ctx, []revocation.Request{wanted})
	if errors.Is(err, revocation.ErrInvalidRequest) {
		return revocation.Receipt{}, nil, invalidRequest(strings.TrimPrefix(err.Error(), "revocation: "))
	}
	return receipt, nil, err
}

// endOne ends a session whether its record is known or not: its tokens may outlive the record.
func (s *Server) endOne(ctx context.Context,
	wanted revocation.Request) (revocation.Receipt, *int, error) {
	found, err := s.sessions.Look(ctx, wanted.Value)
	if err != nil {
		return revocation.Receipt{}, nil, err
	}
	known := 0
	if found.State != session.Missing {
		known = 1
	}
	receipt, err := s.sessions.End(ctx, wanted.Value, wanted.Reason, wanted.Actor)
	return receipt, &known, err
}

// logoutUser answers POST /admin/users/{name}/logout {"reason","actor"}, the body and both of its
// members optional: it logs a user out everywhere.
func (s *Server) logoutUser(r *request) (reply, error) {
	wait, err := s.parseWait(r)
	if err != nil {
		return reply{}, err
	}
	name, err := credential.Normalize(r.PathValue("name"))
	if err != nil {
		return reply{}, invalidRequest("there can be no user of that name")
	}
	var members map[string]string
	if len(r.body) > 0 {
		if members, err = r.members("reason", "actor"); err != nil {
			return reply{}, err
		}
	}
	wanted := revocation.Request{
		Kind:   revocation.KindSub,
		Issuer: s.cfg.Issuer,
		Value:  name,
		Reason: orElse(members["reason"], "logout_everywhere"),
		Actor:  orElse(members["actor"], "operator"),
	}
	if err := wanted.Validate(); err != nil {
		return reply{}, invalidRequest(strings.TrimPrefix(err.Error(), "revocation: "))
	}
	event := s.event(r, audit.Revoke)
	event.Kind, event.Value, event.Actor = wanted.Kind.String(), wanted.Value, wanted.Actor
	event.RevocationReason = wanted.Reason
	receipt, sessions, err := s.carryOut(r.Context(), wanted)
	return s.revokedByOperator(r.Context(), event, wait, receipt, sessions, err)
}

// failureOf names a failure for the record; "" is none.
func failureOf(err error) string {
	var refused *refusal
	switch {
	case err == nil:
		return ""
	case errors.As(err, &refused):
		return refused.code
	}
	return "unavailable"
}

func orElse(s, otherwise string) string {
	if s == "" {
		return otherwise
	}
	return s
}
