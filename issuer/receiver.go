package issuer

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/netip"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"github.com/sallyport/sallyport/internal/audit"
	"github.com/sallyport/sallyport/internal/config"
	"github.com/sallyport/sallyport/internal/credential"
	"github.com/sallyport/sallyport/internal/revocation"
	"github.com/sallyport/sallyport/internal/sender"
	"github.com/sallyport/sallyport/issuer/httpapi"
)

// MessagesConfig bounds what those may do who send messages, senders and strangers alike.
type MessagesConfig struct {
	// Requests is how many messages one address may send.
	Requests credential.Rate `yaml:"requests"`
	// Together is how many messages all addresses may send of which no message could be verified yet,
	// and each of them a tenth: strangers take nothing from a sender.
	Together      credential.Rate `yaml:"together"`
	MaxConcurrent int             `yaml:"max_concurrent" usage:"messages of senders handled at a time; more get 503"`
}

func defaultMessagesConfig() MessagesConfig {
	return MessagesConfig{
		Requests:      credential.Rate{Burst: 5000, Every: time.Millisecond},
		Together:      credential.Rate{Burst: 5000, Every: time.Millisecond},
		MaxConcurrent: 256,
	}
}

// Validate checks the bounds.
func (c MessagesConfig) Validate() error {
	if c.MaxConcurrent < 1 || c.MaxConcurrent > 100_000 {
		return config.At("max_concurrent", "issuer: expected 1 to 100000, got %d", c.MaxConcurrent)
	}
	return nil
}

// checkSenders refuses senders that name this issuer, or each other.
func (c Config) checkSenders() error {
	var errs []error
	seen := map[string]bool{}
	for i := range c.Senders {
		s, at := &c.Senders[i], fmt.Sprintf("senders[%d]", i)
		switch {
		case s.Issuer == c.Issuer || s.EndsSessionsOf() == c.Issuer:
			errs = append(errs, config.At(at,
				"issuer: expected another issuer: the sessions of this one end by /logout and the admin API"))
		case seen[s.Issuer]:
			errs = append(errs, config.At(at+".issuer", "issuer: expected each issuer once, got %q again",
				s.Issuer))
		}
		// By its clock a token may be issued so much later than the log believes it to be, and live so
		// much longer: one that goes further ahead would outlive the entry that revokes it (S6).
		if most := c.Revocation.ClockSkew; s.ClockSkew > most {
			errs = append(errs, config.At(at+".clock_skew", "issuer: expected at most "+
				"revocation.clock_skew (%s), got %s: a token could outlive its revocation", most, s.ClockSkew))
		}
		seen[s.Issuer] = true
	}
	return errors.Join(errs...)
}

// receiver is what the endpoints have in common that take messages of senders.
type receiver struct {
	shared
	senders *sender.Senders
	log     Log
	logTime func() (time.Time, error)
	now     func() time.Time // for the limits
	open    func() error
	logger  *slog.Logger

	proxies  *httpapi.Proxies
	throttle *httpapi.Throttle
	together *rate.Limiter
	// Each address' part of together, so that one alone shuts out no sender that has not been heard
	// since the start.
	part     *httpapi.Throttle
	slots    chan struct{} // one for each message under way
	familiar *recent[netip.Addr]
	done     *recent[messageID]
	streams  map[string]signals // by sender, of those that send security events
	unmapped sync.Map           // what was told of events that end nothing for want of a mapping
}

func newReceiver(o Options, shared shared, proxies *httpapi.Proxies) *receiver {
	c := o.Config.Messages
	shared.metrics.beginMessages()
	for _, s := range o.Senders.Configs() {
		// No default can be right for every product: a session that outlives it is let in again (S6).
		if of := s.EndsSessionsOf(); o.Config.saidLifetime(of) == 0 {
			o.Logger.Warn("nobody has said how long sessions live there at most: one that is revoked here "+
				"stays refused for the default; write max_session_lifetime", "issuer", of,
				"default", o.Config.Revocation.MaxSessionLifetime.String())
		}
	}
	return &receiver{
		shared: shared, senders: o.Senders, log: o.Log, logTime: o.Sessions.Now, now: o.Now, open: o.Open,
		logger:   o.Logger,
		proxies:  proxies,
		throttle: httpapi.NewThrottle(c.Requests, o.Now()),
		together: rate.NewLimiter(rate.Every(c.Together.Every), c.Together.Burst),
		part: httpapi.NewThrottle(credential.Rate{
			Burst: max(1, c.Together.Burst/parts), Every: c.Together.Every * parts,
		}, o.Now()),
		slots:    make(chan struct{}, c.MaxConcurrent),
		familiar: newRecent[netip.Addr](1024),
		done:     newRecent[messageID](1 << 16),
	}
}

// parts is how many addresses it takes to use up what strangers may send together.
const parts = 10

// admit lets a message come in, unless its address, or strangers together, have sent too many.
func (s *receiver) admit(r *http.Request) (httpapi.Client, error) {
	from := s.proxies.ClientOf(r)
	s.proxies.Notice(from)
	if wait := s.throttle.Take(from.Counted, s.now()); wait > 0 {
		return from, httpapi.TooManyRequests(wait)
	}
	if !s.familiar.has(from.Counted) {
		if wait := s.part.Take(from.Counted, s.now()); wait > 0 {
			return from, httpapi.TooManyRequests(wait)
		}
		if !s.together.AllowN(s.now(), 1) {
			return from, httpapi.TooManyRequests(time.Second)
		}
	}
	if err := s.open(); err != nil {
		return from, fmt.Errorf("issuer: not open yet: %w", err)
	}
	return from, nil
}

// verify verifies a message that a request has brought, as judge does.
func (s *receiver) verify(r *httpapi.Request, compact string, k sender.Kind,
	event *audit.Event) (*sender.Message, error) {
	m, err := s.judge(r.Context(), compact, k, event)
	if err == nil {
		s.familiar.add(r.From.Counted)
	}
	return m, err
}

// judge verifies a message, and writes into the event who sent it and what was wrong with it. Its
// errors are those of sender.Senders, or of storage: nothing is judged without the log's time.
func (s *receiver) judge(ctx context.Context, compact string, k sender.Kind,
	event *audit.Event) (*sender.Message, error) {
	// Whoever sends messages is none of this issuer's clients.
	event.Issuer, event.ClientID = "", ""
	now, err := s.logTime()
	if err != nil {
		return nil, fmt.Errorf("issuer: judging a message: %w", err)
	}
	m, err := s.senders.Verify(ctx, compact, now, k)
	if err != nil {
		var refused *sender.Refusal
		if errors.As(err, &refused) {
			event.Issuer = refused.Issuer
		}
		return nil, err
	}
	event.Issuer, event.TokenID, event.KeyID = m.Sender.Issuer, m.ID, m.KeyID
	return m, nil
}

// messageID names a message and what follows from it: another one under the same jti is not it.
type messageID [sha256.Size]byte

func idOf(m *sender.Message, requests []revocation.Request) messageID {
	h := sha256.New()
	_, _ = fmt.Fprintf(h, "%q %q", m.Sender.Issuer, m.ID) // a hash never fails
	for _, r := range requests {
		_, _ = fmt.Fprintf(h, " %d %q %q %d", r.Kind, r.Issuer, r.Value, r.IssuedBefore.UnixMilli())
	}
	return messageID(h.Sum(nil))
}

// carryOut stores what follows from a message, in one batch: without an error it is acknowledged by
// the log (S7). A message that comes again appends nothing while the log has its entries. What was
// carried out is remembered by this process alone, and not for ever: elsewhere and later a repeated
// message has the same entries appended again, which end nothing more.
func (s *receiver) carryOut(ctx context.Context, m *sender.Message,
	requests []revocation.Request) (receipt revocation.Receipt, repeated bool, err error) {
	for _, r := range requests {
		if err := r.Validate(); err != nil {
			return receipt, false, m.Refuse("claim_shape", "expected names that the log can hold")
		}
	}
	id := idOf(m, requests)
	// The memory alone earns no answer: the log may have lost the entries, or let them expire. Nor
	// does the log alone: what another message has made may expire before what this one asks for.
	if s.done.has(id) {
		if receipt, live := s.live(ctx, requests); live {
			return receipt, true, nil
		}
	}
	receipt, err = s.log.Append(ctx, requests)
	if err != nil {
		// Whatever is wrong now, the request itself is in order: the sender is to try again.
		return receipt, false, fmt.Errorf("issuer: storing what a message tells: %w", err)
	}
	s.done.add(id)
	return receipt, false, nil
}

// live waits for the log to show live entries for requests that were stored before, which it does
// with its next heartbeat: one that comes again at once is to add no entry either.
func (s *receiver) live(ctx context.Context,
	requests []revocation.Request) (receipt revocation.Receipt, live bool) {
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		if receipt, live = s.log.Live(requests); live {
			return receipt, true
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return receipt, false
		}
	}
}

// outcomeOf names what became of a message for a record and for a metric, out of a fixed list.
func outcomeOf(err error) (outcome, reason, detail string) {
	var (
		refused   *sender.Refusal
		malformed *httpapi.Refusal
	)
	switch {
	case err == nil:
		return "accepted", "", ""
	case errors.As(err, &malformed):
		return "not_verified", malformed.Code, malformed.Description
	case errors.As(err, &refused) && refused.Authentic:
		return "refused", string(refused.Reason), refused.Detail
	case errors.As(err, &refused):
		return "not_verified", string(refused.Reason), refused.Detail
	case errors.Is(err, sender.ErrKeyPending):
		return "key_pending", "key_pending", ""
	}
	return "unavailable", "unavailable", ""
}

// recent remembers the last keys that were added: at least most of them and at most twice as many.
type recent[K comparable] struct {
	most int

	mu               sync.Mutex
	current, earlier map[K]struct{}
}

func newRecent[K comparable](most int) *recent[K] {
	return &recent[K]{most: most, current: map[K]struct{}{}}
}

func (r *recent[K]) has(k K) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	_, current := r.current[k]
	_, earlier := r.earlier[k]
	return current || earlier
}

func (r *recent[K]) add(k K) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.current[k] = struct{}{}; len(r.current) >= r.most {
		r.current, r.earlier = map[K]struct{}{}, r.current
	}
}
