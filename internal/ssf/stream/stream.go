package stream

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sallyport/sallyport/internal/config"
	"github.com/sallyport/sallyport/internal/livefile"
	"github.com/sallyport/sallyport/internal/ownfile"
	"github.com/sallyport/sallyport/internal/ssf"
)

// Options are what a Stream is made of. Sender, Config, Lease and Handle are required.
type Options struct {
	Sender string // iss of its messages
	Config Config
	CAFile config.Path // roots to trust in place of the system's; "": those
	Lease  Lease
	// Handle carries a polled message out. Without an error it may be acknowledged; *ssf.Error
	// refuses it for good; after any other error it comes again.
	Handle func(ctx context.Context, id, compact string) error
	// Open says whether messages are to be taken yet; nil: always. Before that the stream is left
	// alone: Keycloak pushes a verification once, while it is asked for it.
	Open    func() error
	Files   *livefile.Files
	Logger  *slog.Logger     // nil: silent
	Metrics *Metrics         // nil: go nowhere
	Now     func() time.Time // nil: time.Now
}

// Stream is a sender's stream as its receiver has it. Its methods may be called by many goroutines.
type Stream struct {
	o             Options
	client        *client
	authorization *authorization // nil: messages need none
	wake          chan struct{}  // the stream is to be looked at now
	held          atomic.Bool
	kept          atomic.Pointer[kept] // nil until the stream was found whole

	mu      sync.Mutex
	trouble map[string]string // by step: what was last told
}

// kept is a stream that was found.
type kept struct {
	id   string
	poll *url.URL // nil with push
	// how often it may be asked for a verification
	verifyEvery time.Duration
}

const (
	minAuthorization = 16 // bytes: it stands between strangers and the work of a signature
	maxSecret        = 4096
)

// New makes a Stream; nothing is done yet.
func New(o Options) (*Stream, error) {
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Metrics == nil {
		o.Metrics = NewMetrics(nil)
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Open == nil {
		o.Open = func() error { return nil }
	}
	o.Logger = o.Logger.With("sender", o.Sender)
	s := &Stream{
		o: o, wake: make(chan struct{}, 1), trouble: map[string]string{},
		client: &client{cfg: o.Config, issuer: o.Sender, now: o.Now},
	}
	o.Metrics.begin(o.Sender, o.Config.Managed())
	return s, s.open()
}

// open opens the files that the configuration names.
func (s *Stream) open() (err error) {
	c := s.o.Config
	if s.o.CAFile != "" && c.Managed() {
		s.client.roots, err = livefile.OpenRoots(s.o.Files, "ca_file", string(s.o.CAFile))
		if err != nil {
			return err
		}
	}
	for setting, path := range map[string]config.Path{
		"client_secret_file": c.ClientSecretFile, "token_file": c.TokenFile,
	} {
		if path == "" {
			continue
		}
		s.client.secret, err = s.openSecret(setting, path, 1, func(string) { s.look() })
		if err != nil {
			return err
		}
	}
	if c.AuthorizationFile == "" {
		return nil
	}
	file, err := s.openSecret("authorization_file", c.AuthorizationFile, minAuthorization,
		func(string) { s.look() })
	if err == nil {
		s.authorization = &authorization{file: file, now: s.o.Now}
	}
	return err
}

func (s *Stream) openSecret(setting string, path config.Path, least int,
	then func(string)) (*livefile.File[string], error) {
	return livefile.Open(s.o.Files, livefile.Spec[string]{
		Setting: "senders[].signals." + setting, Paths: []string{string(path)},
		Parse: func(contents [][]byte) (string, error) { return parseSecret(contents[0], least) },
		Then:  then,
	})
}

// parseSecret reads a secret that fits into a header: its file less one line break at its end.
func parseSecret(content []byte, least int) (string, error) {
	secret := string(ownfile.Secret(content))
	if len(secret) < least || len(secret) > maxSecret ||
		strings.ContainsFunc(secret, func(r rune) bool { return r < ' ' || r > '~' }) ||
		strings.TrimSpace(secret) != secret {
		return "", fmt.Errorf("stream: expected one line of %d to %d printable ASCII characters",
			least, maxSecret)
	}
	return secret, nil
}

// Authorized reports whether a pushed message comes with the stream's Authorization header.
func (s *Stream) Authorized(header string) bool {
	if s.o.Config.Delivery != Push {
		return false
	}
	return s.authorization == nil || s.authorization.accepts(header)
}

// HasSecret reports whether pushed messages must come with an Authorization header.
func (s *Stream) HasSecret() bool { return s.authorization != nil }

// Told takes in an event about the stream itself, out of a message. An error that is no *ssf.Error
// means that it is to come again.
func (s *Stream) Told(ctx context.Context, m ssf.Set, e ssf.Event) error {
	of := m.Subject
	if of.Format != "opaque" {
		return ssf.Refuse(ssf.InvalidRequest, "expected sub_id to name the stream, in format opaque")
	}
	if e.Type == ssf.StreamUpdated {
		// What it says is not believed further than that it is worth a look.
		s.o.Logger.Warn("the sender says that its stream has changed", "status", known(e.Status))
		s.look()
		return nil
	}
	now := s.o.Now()
	// A sender may verify of its own accord, and then gives no state.
	if e.State != "" && s.o.Config.Managed() &&
		!stateFits(s.client.secret.Value(), of.ID, e.State, now) {
		return ssf.Refuse(ssf.InvalidState, "the state is not one that this receiver has asked with")
	}
	at := now
	if e.State == "" && m.IssuedAt.Before(now) {
		at = m.IssuedAt // whoever has it may send it again: it shows that the stream worked then
	}
	last, err := s.o.Lease.LastVerified(ctx)
	if err == nil && at.After(last) {
		err = s.o.Lease.Verified(ctx, at)
	}
	if err != nil {
		return fmt.Errorf("stream: noting a verification: %w", err)
	}
	s.o.Metrics.lastVerified(s.o.Sender, at)
	return nil
}

// known returns a status of SSF section 8.1.2, so that no other text is logged.
func known(status string) string {
	switch status {
	case "enabled", "paused", "disabled":
		return status
	}
	return "not known"
}

// look has the stream looked at soon.
func (s *Stream) look() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// Run keeps the stream until ctx ends.
func (s *Stream) Run(ctx context.Context) error {
	defer s.client.close()
	var running sync.WaitGroup
	defer running.Wait()
	if s.o.Config.Delivery == Poll {
		running.Go(func() { s.polling(ctx) })
	}
	s.keeping(ctx)
	// So that another one takes over at once. Should it not reach Redis, the lease runs out.
	last, cancel := context.WithTimeout(context.WithoutCancel(ctx), releaseTimeout)
	defer cancel()
	if err := s.o.Lease.Release(last); err != nil {
		s.o.Logger.Info("another issuer keeps the stream once this one's lease has run out",
			"error", err.Error())
	}
	return nil
}

// releaseTimeout is how long an issuer that ends tries to give its lease back.
const releaseTimeout = time.Second

// keeping takes the lease, and looks after the stream while it has it.
func (s *Stream) keeping(ctx context.Context) {
	tick := min(s.o.Config.CheckEvery, 5*time.Second)
	var (
		b    backoff
		next time.Time // when the stream is to be looked at
	)
	for ctx.Err() == nil && s.o.Open() != nil {
		sleep(ctx, 100*time.Millisecond)
	}
	for ctx.Err() == nil {
		if s.holds(ctx, 3*tick) && s.o.Config.Managed() && !s.o.Now().Before(next) {
			err := s.keep(ctx)
			s.tell(ctx, stepKeep, err)
			s.o.Metrics.up.WithLabelValues(s.o.Sender).Set(boolean(err == nil))
			next = s.o.Now().Add(b.after(err, s.o.Config.CheckEvery))
		}
		select {
		case <-ctx.Done():
		case <-s.wake:
			next = time.Time{}
		case <-time.After(tick):
		}
	}
}

func boolean(b bool) float64 {
	if b {
		return 1
	}
	return 0
}

// holds renews the lease. Without Redis nobody has it: what could be polled could not be carried
// out either.
func (s *Stream) holds(ctx context.Context, life time.Duration) bool {
	ctx, cancel := context.WithTimeout(ctx, life/3)
	defer cancel()
	held, err := s.o.Lease.Hold(ctx, life)
	var at time.Time
	if err == nil {
		at, err = s.o.Lease.LastVerified(ctx)
	}
	if err == nil && s.authorization != nil {
		_, err = s.authorizations(ctx)
	}
	if err == nil && s.authorization != nil && held && !s.o.Config.Managed() {
		// Whoever replaces the file tells the sender, too, a little sooner or later.
		err = s.told(ctx, "", s.authorization.file.Value())
	}
	s.tell(ctx, stepLease, err)
	s.o.Metrics.lastVerified(s.o.Sender, at)
	held = held && err == nil
	s.held.Store(held)
	if !held && s.o.Config.Managed() {
		s.o.Metrics.up.WithLabelValues(s.o.Sender).Set(0)
	}
	return held
}

// keep makes sure that the stream is there, asks for what we want, and is enabled; and asks it to
// show that it works, when it is time.
func (s *Stream) keep(ctx context.Context) error {
	at, err := s.client.discover(ctx)
	if err != nil {
		return err
	}
	found, err := s.ensure(ctx, at)
	if err != nil {
		s.kept.Store(nil)
		return err
	}
	is := &kept{id: found.ID, verifyEvery: s.o.Config.VerifyEvery}
	least := time.Duration(min(max(found.MinVerification, 0), 24*3600)) * time.Second
	is.verifyEvery = max(is.verifyEvery, least)
	if s.o.Config.Delivery == Poll {
		if is.poll, err = safeURL(found.Delivery.EndpointURL); err != nil {
			return err
		}
	}
	s.kept.Store(is)
	was, err := s.client.enable(ctx, at, is.id)
	if err != nil {
		return err
	}
	if was != "" {
		s.o.Logger.Warn("the stream was not enabled, and is now", "was", was)
	}
	return s.verify(ctx, at, is)
}

// ensure finds the stream or makes it.
func (s *Stream) ensure(ctx context.Context, at endpoints) (_ remote, err error) {
	authorization, settles := "", false
	if s.authorization != nil {
		authorization = s.authorization.file.Value()
		if settles, err = s.settles(ctx, authorization); err != nil {
			return remote{}, err
		}
	}
	want := s.client.wanted(authorization)
	found, there, err := s.find(ctx, at, want)
	if err != nil {
		return remote{}, err
	}
	method := http.MethodPost
	switch {
	// What is to be written has the next authorization in it.
	case there && (settles || !want.lacks(found) && !s.changed(found.ID, authorization)):
		return found, found.check(s.o.Sender)
	case there:
		method, want.ID = http.MethodPatch, found.ID
	}
	made, err := s.client.write(ctx, method, at, want)
	if isStatus(err, http.StatusConflict) {
		// It allows one stream a client, and has one that is delivered otherwise.
		if made, err = s.replace(ctx, at, want); err != nil {
			return remote{}, err
		}
	}
	if err != nil {
		return remote{}, err
	}
	if err := made.check(s.o.Sender); err != nil {
		return remote{}, err
	}
	if s.authorization != nil {
		if err := s.told(ctx, made.ID, authorization); err != nil {
			return remote{}, err
		}
	}
	s.o.Logger.Info("the stream of security events was written", "new", !there,
		"delivery", s.o.Config.Delivery, "audience", made.Audience, "events", made.Delivered)
	return made, nil
}

func (s *Stream) find(ctx context.Context, at endpoints, want wanted) (remote, bool, error) {
	list, err := s.client.streams(ctx, at)
	if err != nil {
		return remote{}, false, err
	}
	for _, r := range list {
		if want.ours(r) {
			return r, true, nil
		}
	}
	return remote{}, false, nil
}

// replace changes the one stream that the client may have into the one that is wanted.
func (s *Stream) replace(ctx context.Context, at endpoints, want wanted) (remote, error) {
	list, err := s.client.streams(ctx, at)
	if err != nil {
		return remote{}, err
	}
	if len(list) != 1 {
		return remote{}, errors.New("the sender makes no stream because there is one, and shows none")
	}
	want.ID = list[0].ID
	return s.client.write(ctx, http.MethodPatch, at, want)
}

// verify asks for a message that shows that the stream works, when the last one is old.
func (s *Stream) verify(ctx context.Context, at endpoints, is *kept) error {
	last, err := s.o.Lease.LastVerified(ctx)
	now := s.o.Now()
	switch {
	case err != nil:
		return err
	case at.verify == nil || now.Sub(last) < is.verifyEvery:
		return nil
	}
	s.o.Metrics.asked(s.o.Sender)
	err = s.client.verify(ctx, at, is.id, newState(s.client.secret.Value(), is.id, now))
	if isStatus(err, http.StatusTooManyRequests) {
		return nil // it was asked a moment ago, by whoever kept the stream before
	}
	return err
}

// tell tells of trouble with a step once, and once that it is over.
func (s *Stream) tell(ctx context.Context, step string, err error) {
	if ctx.Err() != nil && errors.Is(err, context.Canceled) {
		return
	}
	text := ""
	if err != nil {
		text = err.Error()
		s.o.Metrics.failures.WithLabelValues(s.o.Sender, step).Inc()
	}
	s.mu.Lock()
	before := s.trouble[step]
	s.trouble[step] = text
	s.mu.Unlock()
	switch {
	case text != "" && text != before:
		s.o.Logger.Warn("a stream of security events is in trouble", "step", step, "error", text)
	case text == "" && before != "":
		s.o.Logger.Info("a stream of security events is whole again", "step", step)
	}
}
