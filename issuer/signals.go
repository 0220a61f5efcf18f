package issuer

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/sallyport/sallyport/internal/audit"
	"github.com/sallyport/sallyport/internal/revocation"
	"github.com/sallyport/sallyport/internal/sender"
	"github.com/sallyport/sallyport/internal/ssf"
	"github.com/sallyport/sallyport/internal/ssf/stream"
	"github.com/sallyport/sallyport/internal/token"
	"github.com/sallyport/sallyport/issuer/httpapi"
)

// securityEventType is the type of a pushed message (RFC 8935 section 2.1).
const securityEventType = "application/secevent+jwt"

// securityEvents are messages of SSF: of a type of their own (SSF section 4.1.1), and for the
// stream's client. However old one is, it is to be followed: it may have waited for this issuer.
var securityEvents = sender.Kind{
	Types: []string{"secevent+jwt"},
	Audiences: func(from *sender.Config, aud string) bool {
		return slices.Contains(from.Audiences, aud) || from.Signals.For(aud)
	},
}

// signals is what is known of a sender that sends security events.
type signals struct {
	*stream.Stream
	rules ssf.Rules
}

// openStreams makes the streams of the senders that send security events.
func (s *receiver) openStreams(o Options) error {
	s.streams = map[string]signals{}
	metrics := stream.NewMetrics(o.Registry)
	for _, c := range o.Senders.Configs() {
		if c.Signals.Delivery == "" {
			continue
		}
		if o.Lease == nil {
			return errors.New("issuer: expected leases for the senders' streams")
		}
		rules, err := c.Signals.Rules(c.Issuer, c.EndsSessionsOf())
		if err != nil {
			return fmt.Errorf("issuer: the events of %s: %w", c.Issuer, err)
		}
		made, err := stream.New(stream.Options{
			Sender: c.Issuer, Config: c.Signals, CAFile: c.CAFile, Lease: o.Lease(c.Issuer),
			Handle: s.polled(c.Issuer), Open: o.Open, Files: o.Files, Logger: o.Logger, Metrics: metrics,
		})
		if err != nil {
			return fmt.Errorf("issuer: the stream of %s: %w", c.Issuer, err)
		}
		s.streams[c.Issuer] = signals{made, rules}
	}
	return nil
}

// refused is the answer of a pushed message that is refused (RFC 8935 section 2.3).
type refused struct {
	Code        ssf.Code `json:"err"`
	Description string   `json:"description"`
}

// securityEvent answers POST /security-events: 202 says that what follows from the message is
// stored.
func (s *receiver) securityEvent(r *httpapi.Request) (httpapi.Reply, error) {
	event := s.trail.Event(r, audit.Message)
	event.Issuer, event.ClientID = "", ""
	// Only who knows a stream's secret is told what a message was refused for that is not verified.
	header, known := authorizationOf(r), false
	var from []string
	for issuer, its := range s.streams {
		// Every secret is compared, so that the time does not tell which sender's it may be.
		if its.Authorized(header) {
			from = append(from, issuer)
			known = known || its.HasSecret()
		}
	}
	err := asRefusal(s.pushed(r, &event, from), known)
	var no *ssf.Error
	switch {
	case errors.As(err, &no):
		return httpapi.Reply{
			Status: http.StatusBadRequest, Header: http.Header{"Content-Language": {"en"}},
			Body: refused{no.Code, no.Description},
		}, nil
	case errors.Is(err, sender.ErrKeyPending):
		return httpapi.Reply{}, errEventKeyPending
	case err != nil:
		return httpapi.Reply{}, err
	}
	return httpapi.Reply{Status: http.StatusAccepted, Body: []byte{}}, nil
}

// authorizationOf returns the Authorization header of a request that has one.
func authorizationOf(r *httpapi.Request) string {
	if values := r.Header.Values("Authorization"); len(values) == 1 {
		return values[0]
	}
	return ""
}

// pushed follows a message that has come with what some senders' messages come with.
func (s *receiver) pushed(r *httpapi.Request, event *audit.Event, from []string) error {
	return s.follow(r.Context(), "push", event, func() (*sender.Message, error) {
		// Before the signature: what a stranger sends costs no more than this.
		if len(from) == 0 {
			return nil, errNotAuthorized
		}
		m, err := s.verify(r, r.Text(), securityEvents, event)
		if err == nil && !slices.Contains(from, m.Sender.Issuer) {
			return nil, errNotAuthorized
		}
		return m, err
	})
}

var errEventKeyPending = &httpapi.Refusal{
	Status: http.StatusServiceUnavailable, Code: "temporarily_unavailable",
	Description: "The key that signed the message is not known yet: try again.",
	RetryAfter:  10 * time.Second,
}

var errNotAuthorized = ssf.Refuse(ssf.AuthenticationFailed,
	"the Authorization header is not the one that the stream was given")

// polled returns what carries out the messages of a sender's stream that is polled.
func (s *receiver) polled(from string) func(context.Context, string, string) error {
	return func(ctx context.Context, id, compact string) error {
		return s.handlers.Guard(func() error {
			event := audit.Event{Name: audit.Message}
			if err := s.open(); err != nil {
				return fmt.Errorf("issuer: not open yet: %w", err)
			}
			return asRefusal(s.follow(ctx, "poll", &event, func() (*sender.Message, error) {
				m, err := s.judge(ctx, compact, securityEvents, &event)
				switch {
				case err == nil && m.Sender.Issuer != from:
					return nil, ssf.Refuse(ssf.InvalidIssuer, "the message is not of this stream's issuer")
				case err == nil && m.ID != id:
					return nil, ssf.Refuse(ssf.InvalidRequest,
						"the message has another jti than it came under")
				}
				return m, err
			}), true)
		})
	}
}

// follow does what a verified message asks for, counts and records it.
func (s *receiver) follow(ctx context.Context, channel string, event *audit.Event,
	verified func() (*sender.Message, error)) error {
	m, err := verified()
	var (
		receipt  revocation.Receipt
		repeated bool
	)
	if err == nil {
		receipt, repeated, err = s.carryOutEvents(ctx, m, event)
	}
	outcome, reason, detail := outcomeOfEvents(err)
	if repeated {
		outcome = "repeated"
	}
	s.metrics.messages.WithLabelValues(channel, outcome).Inc()
	if err != nil {
		event.Detail = detail
	}
	event.Seq = receipt.Seq
	s.trail.Record(*event, reason)
	return err
}

// carryOutEvents does what all events of a message ask for, and appends in one batch.
func (s *receiver) carryOutEvents(ctx context.Context, m *sender.Message,
	event *audit.Event) (receipt revocation.Receipt, repeated bool, err error) {
	from := s.streams[m.Sender.Issuer]
	set, err := ssf.Read(m.Claims, from.rules)
	if err != nil {
		return receipt, false, err
	}
	now, err := s.logTime()
	if err != nil {
		return receipt, false, fmt.Errorf("issuer: judging a message: %w", err)
	}
	requests, outcomes, err := from.rules.Requests(set, now, m.Sender.ClockSkew)
	if err != nil {
		return receipt, false, err
	}
	// What is about the stream comes first, since it may be refused: of a message that is answered
	// as refused nothing has been stored.
	for i, e := range set.Events {
		if outcomes[i] == ssf.Stream {
			if err := from.Told(ctx, set, e); err != nil {
				return receipt, false, err
			}
		}
	}
	if len(requests) > 0 {
		event.Kind, event.Value = requests[0].Kind.String(), requests[0].Value
		event.RevocationReason = requests[0].Reason
		if receipt, repeated, err = s.carryOut(ctx, m, requests); err != nil {
			return receipt, false, err
		}
	}
	var told []string
	for i, e := range set.Events {
		told = append(told, e.Type.String()+": "+string(outcomes[i]))
		if outcomes[i] == ssf.Unmapped {
			s.tellUnmapped(m.Sender.Issuer, e.Type, set.Subject.Format)
		}
	}
	for i, e := range set.Events {
		s.metrics.signals.WithLabelValues(e.Type.String(), string(outcomes[i])).Inc()
	}
	event.Detail = strings.Join(told, ", ")
	return receipt, repeated, nil
}

// tellUnmapped tells once of each kind of event that was acknowledged and ends nothing.
func (s *receiver) tellUnmapped(from string, t ssf.Type, format string) {
	if !ssf.KnownFormat(format) {
		format = "other" // out of a fixed list: it is remembered
	}
	if _, known := s.unmapped.LoadOrStore([3]string{from, t.String(), format}, true); known {
		return
	}
	s.logger.Warn("security events end nothing, since whom they mean cannot be told from their "+
		"subjects: see signals.subjects", "sender", from, "type", t.String(), "format", format)
}

// outcomeOfEvents is outcomeOf for security events, whose refusals have codes of their own.
func outcomeOfEvents(err error) (outcome, reason, detail string) {
	var no *ssf.Error
	switch {
	case errors.Is(err, errNotAuthorized):
		return "not_verified", string(ssf.AuthenticationFailed), errNotAuthorized.Error()
	case errors.As(err, &no):
		return "refused", string(no.Code), no.Description
	}
	return outcomeOf(err)
}

// asRefusal returns the refusal of a message as its sender is told of it: *ssf.Error for what is
// refused for good; after any other error the message is to come again. A message that could not be
// verified gets one text, and where nobody has shown that they may ask, one code.
func asRefusal(err error, trusted bool) error {
	var no *sender.Refusal
	switch {
	case !errors.As(err, &no):
		return err
	case !no.Authentic && trusted:
		return ssf.Refuse(unverifiedCode(no.Reason), notVerified)
	case !no.Authentic:
		return ssf.Refuse(ssf.AuthenticationFailed, notVerified)
	}
	code := ssf.InvalidRequest
	if no.Reason == token.ReasonAudience || no.Reason == token.ReasonAudienceMissing {
		code = ssf.InvalidAudience
	}
	return ssf.Refuse(code, "%s", no.Detail)
}

const notVerified = "the message is not one that a sender of this issuer has signed"

// unverifiedCode returns the code for a message that could not be verified.
func unverifiedCode(r token.Reason) ssf.Code {
	switch r {
	case token.ReasonUnknownIssuer, token.ReasonIssuer:
		return ssf.InvalidIssuer
	case token.ReasonAlg, token.ReasonAlgNone, token.ReasonKeyType, token.ReasonUnknownKey,
		token.ReasonRevoked, token.ReasonSignature, token.ReasonUnsigned:
		return ssf.InvalidKey
	}
	return ssf.InvalidRequest
}
