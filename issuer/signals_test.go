package issuer

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/sallyport/sallyport/internal/config"
	"github.com/sallyport/sallyport/internal/eventually"
	"github.com/sallyport/sallyport/internal/jose/josetest"
	"github.com/sallyport/sallyport/internal/redisconn"
	"github.com/sallyport/sallyport/internal/sender"
	"github.com/sallyport/sallyport/internal/session/sessiontest"
	"github.com/sallyport/sallyport/internal/ssf"
	"github.com/sallyport/sallyport/internal/ssf/stream"
	"github.com/sallyport/sallyport/internal/ssf/stream/streamtest"
)

const (
	pushSecretA = "Bearer what-a-was-given"
	pushSecretB = "Bearer what-b-was-given"
	anyOne      = `{"format":"iss_sub","iss":"` + senderA + `","sub":"alice"}`
	// As Keycloak writes it.
	aSession = `{"format":"complex","user":` + anyOne + `,"session":{"format":"opaque","id":"s1"}}`
	allOfHer = `{"format":"complex","user":` + anyOne + `,"session":{"format":"opaque","id":"ALL"}}`
)

func secretFile(t *testing.T, secret string) config.Path {
	t.Helper()
	name := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(name, []byte(secret+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	return config.Path(name)
}

// pushedTo gives both senders streams that are pushed, and their secrets.
func pushedTo(t *testing.T) func(*Config) {
	return func(cfg *Config) {
		for i := range cfg.Senders {
			s := &cfg.Senders[i]
			secret := pushSecretA
			if s.Issuer == senderB {
				secret = pushSecretB
			}
			s.Signals = stream.Config{Delivery: stream.Push, AuthorizationFile: secretFile(t, secret)}
		}
	}
}

func newPushed(t *testing.T, c *redisconn.Client) *receiving {
	t.Helper()
	return newReceiving(t, c, pushedTo(t))
}

func newPushedOnMiniredis(t *testing.T) *receiving {
	t.Helper()
	return newPushed(t, sessiontest.Open(t, miniredis.RunT(t).Addr()))
}

// event are the claims of a good message of A, of one event about a subject.
func (r *receiving) event(t ssf.Type, subject string) josetest.Object {
	now, _ := r.log.Time()
	return josetest.Object(nil).
		With("iss", josetest.Text(senderA)).
		With("aud", josetest.Text("shop")).
		With("iat", josetest.Seconds(now)).
		With("jti", josetest.Text("message-1")).
		With("events", fmt.Sprintf(`{%q:{}}`, t.URI())).
		With("sub_id", subject)
}

func (r *receiving) signed(claims josetest.Object) string {
	return r.a.Token(r.a.Header("secevent+jwt").JSON(), claims.JSON())
}

// push posts a message as A does.
func (r *receiving) push(message string, options ...option) answer {
	r.t.Helper()
	return r.post("/security-events", message, append([]option{func(q *http.Request) {
		q.Header.Set("Content-Type", securityEventType)
		q.Header.Set("Authorization", pushSecretA)
	}}, options...)...)
}

func (r *receiving) wantRefused(a answer, code ssf.Code) {
	r.t.Helper()
	if a.status != http.StatusBadRequest || a.str("err") != string(code) ||
		a.str("description") == "" ||
		a.header.Get("Content-Type") != "application/json" ||
		a.header.Get("Content-Language") != "en" {
		r.t.Errorf("expected 400 with %s, got %d %v %s", code, a.status, a.header, a.text)
	}
}

func wantTaken(t *testing.T, a answer) {
	t.Helper()
	if a.status != http.StatusAccepted || a.text != "" {
		t.Errorf("expected 202 and nothing more, got %d %s", a.status, a.text)
	}
}

// TestASecurityEventElsewhereIsInForceHere: the entry is stored once the answer is there, and a
// message that comes again stores nothing.
func TestASecurityEventElsewhereIsInForceHere(t *testing.T) {
	sessiontest.EachRedis(t, func(t *testing.T, c *redisconn.Client) {
		for name, c2 := range map[string]struct {
			event   ssf.Type
			subject string
			want    string
		}{
			"a session":    {ssf.SessionRevoked, aSession, senderA + " sid s1"},
			"all sessions": {ssf.SessionRevoked, allOfHer, senderA + " sub alice"},
			"a password":   {ssf.CredentialChange, anyOne, senderA + " sub alice"},
			"an account":   {ssf.AccountDisabled, anyOne, senderA + " sub alice"},
		} {
			t.Run(name, func(t *testing.T) {
				r := newPushed(t, c)
				message := r.signed(r.event(c2.event, c2.subject))
				for range 2 {
					wantTaken(t, r.push(message))
					r.wantInLog(c2.want)
				}
				// Once its entry has expired, or is lost, it is stored again.
				r.log.Forget()
				wantTaken(t, r.push(message))
				r.wantInLog(c2.want)
				if n := testutil.ToFloat64(r.issuer.Public.metrics.messages.
					WithLabelValues("push", "repeated")); n != 1 {
					t.Errorf("expected one repeated message, got %v", n)
				}
				if !strings.Contains(r.audited.String(), `"revocation_reason":"`+c2.event.String()+`"`) {
					t.Errorf("the audit log does not tell why:\n%s", r.audited)
				}
			})
		}
	})
}

// TestASecurityEventIsAcknowledgedOnlyOnceStored: a log that fails is 503, so that the sender tries
// again, and then it is stored once.
func TestASecurityEventIsAcknowledgedOnlyOnceStored(t *testing.T) {
	r := newPushedOnMiniredis(t)
	message := r.signed(r.event(ssf.SessionRevoked, aSession))
	for _, call := range []string{"append", "lost"} {
		r.log.Fail(func(c string) error {
			if c == call {
				return sessiontest.ErrInjected
			}
			return nil
		})
		if a := r.push(message); a.status != http.StatusServiceUnavailable ||
			a.header.Get("Retry-After") == "" {
			t.Errorf("%s: expected 503 with Retry-After, got %d %s", call, a.status, a.text)
		}
	}
	r.log.Fail(nil)
	wantTaken(t, r.push(message))
	r.log.Set(false, false, "era-1")
	if a := r.push(message); a.status != http.StatusServiceUnavailable {
		t.Errorf("without the log's time: expected 503, got %d", a.status)
	}
}

// TestARefusedSecurityEventHasItsCode, and stores nothing.
func TestARefusedSecurityEventHasItsCode(t *testing.T) {
	r := newPushedOnMiniredis(t)
	good := r.event(ssf.SessionRevoked, aSession)
	stranger := josetest.NewKey("RS256", "key-a")
	now, _ := r.log.Time()
	of := func(subject string) string { return r.signed(r.event(ssf.SessionRevoked, subject)) }
	for name, c := range map[string]struct {
		message string
		code    ssf.Code
	}{
		"no token":           {"x", ssf.InvalidRequest},
		"an ID token's type": {r.a.Token(r.a.Header("JWT").JSON(), good.JSON()), ssf.InvalidRequest},
		"a logout token": {r.a.Token(r.a.Header("logout+jwt").JSON(), good.JSON()),
			ssf.InvalidRequest},
		"an unknown issuer": {r.signed(good.With("iss", josetest.Text("https://x.example"))),
			ssf.InvalidIssuer},
		"another's signature": {
			stranger.Token(stranger.Header("secevent+jwt").JSON(), good.JSON()), ssf.InvalidKey,
		},
		"another audience": {r.signed(good.With("aud", josetest.Text("billing"))),
			ssf.InvalidAudience},
		"no audience": {r.signed(good.Without("aud")), ssf.InvalidAudience},
		"exp": {r.signed(good.With("exp", josetest.Seconds(now.Add(time.Hour)))),
			ssf.InvalidRequest},
		"sub": {r.signed(good.With("sub", josetest.Text("alice"))), ssf.InvalidRequest},
		"from the future": {r.signed(good.With("iat", josetest.Seconds(now.Add(time.Hour)))),
			ssf.InvalidRequest},
		"no events":  {r.signed(good.With("events", "{}")), ssf.InvalidRequest},
		"no subject": {r.signed(good.Without("sub_id")), ssf.InvalidRequest},
		"a subject of B's": {
			of(`{"format":"iss_sub","iss":"` + senderB + `","sub":"bob"}`), ssf.AccessDenied,
		},
		"a subject of ours": {
			of(`{"format":"iss_sub","iss":"` + issuerURL + `","sub":"alice"}`), ssf.AccessDenied,
		},
	} {
		t.Run(name, func(t *testing.T) {
			r.wantRefused(r.push(c.message), c.code)
			r.wantInLog()
		})
	}
	r.wantRefused(r.push(r.signed(good), withHeader("Authorization", pushSecretA)),
		ssf.AuthenticationFailed)
	t.Run("another type of body", func(t *testing.T) {
		a := r.post("/security-events", r.signed(good), withHeader("Authorization", pushSecretA))
		wantStatus(t, a, http.StatusUnsupportedMediaType, "unsupported_media_type")
	})
	wantTaken(t, r.push(r.signed(good)))
}

// TestASecurityEventByAKeyThatMayBeNewComesAgain: the sender is to try again, by push or by poll.
func TestASecurityEventByAKeyThatMayBeNewComesAgain(t *testing.T) {
	r := newPushedOnMiniredis(t)
	unknown := josetest.NewKey("RS256", "key-x")
	a := r.push(unknown.Token(unknown.Header("secevent+jwt").JSON(),
		r.event(ssf.SessionRevoked, aSession).JSON()))
	if a.status != http.StatusServiceUnavailable || a.header.Get("Retry-After") == "" {
		t.Errorf("expected 503 with Retry-After, got %d %s", a.status, a.text)
	}
	r.wantInLog()
}

// TestWhoeverMadeUpASecurityEventLearnsNothing: without the stream's secret everything is answered
// alike, a message that would be good among them.
func TestWhoeverMadeUpASecurityEventLearnsNothing(t *testing.T) {
	stranger := josetest.NewKey("RS256", "key-a")
	forged := func(r *receiving, change func(josetest.Object) josetest.Object) string {
		return stranger.Token(stranger.Header("secevent+jwt").JSON(),
			change(r.event(ssf.SessionRevoked, aSession)).JSON())
	}
	messages := func(r *receiving) []string {
		return []string{
			"x", forged(r, func(o josetest.Object) josetest.Object { return o }),
			forged(r, func(o josetest.Object) josetest.Object {
				return o.With("iss", josetest.Text("https://x.example"))
			}),
			forged(r, func(o josetest.Object) josetest.Object {
				return o.With("aud",
					josetest.Text("x"))
			}),
		}
	}
	alike := func(t *testing.T, r *receiving, secret string, messages ...string) {
		t.Helper()
		var first string
		for _, m := range messages {
			a := r.push(m, func(q *http.Request) { q.Header.Set("Authorization", secret) })
			r.wantRefused(a, ssf.AuthenticationFailed)
			if first == "" {
				first = a.text
			}
			if a.text != first {
				t.Errorf("one is answered %s, another %s", first, a.text)
			}
		}
		r.wantInLog()
	}
	t.Run("with a wrong secret", func(t *testing.T) {
		r := newPushedOnMiniredis(t)
		alike(t, r, "Bearer wrong", append(messages(r), r.signed(r.event(ssf.SessionRevoked,
			aSession)))...)
	})
	t.Run("where there is no secret", func(t *testing.T) {
		r := newReceivingOnMiniredis(t, func(cfg *Config) {
			cfg.Senders[0].Signals.Delivery = stream.Push
			cfg.Senders[1].Signals.Delivery = stream.Push
		})
		alike(t, r, "", messages(r)...)
		wantTaken(t, r.push(r.signed(r.event(ssf.SessionRevoked, aSession))))
	})
}

// TestASecretIsForItsOwnSendersMessages.
func TestASecretIsForItsOwnSendersMessages(t *testing.T) {
	r := newPushedOnMiniredis(t)
	ofB := r.event(ssf.SessionRevoked, `{"format":"iss_sub","iss":"`+senderB+`","sub":"bob"}`).
		With("iss", josetest.Text(senderB))
	message := r.b.Token(r.b.Header("secevent+jwt").JSON(), ofB.JSON())
	r.wantRefused(r.push(message), ssf.AuthenticationFailed)
	r.wantInLog()
	wantTaken(t, r.push(message, func(q *http.Request) {
		q.Header.Set("Authorization",
			pushSecretB)
	}))
	r.wantInLog(senderB + " sub bob")
}

// TestAnEventThatEndsNothingIsAcknowledgedAndCounted: one that is not known, and one whose subject
// says nothing here, which is told, once.
func TestAnEventThatEndsNothingIsAcknowledgedAndCounted(t *testing.T) {
	r := newPushedOnMiniredis(t)
	wantTaken(t, r.push(r.signed(r.event(ssf.SessionRevoked, anyOne).With("events",
		`{"urn:x":{}}`))))
	for range 3 {
		wantTaken(t, r.push(r.signed(r.event(ssf.AccountDisabled,
			`{"format":"email","email":"a@b.c"}`))))
	}
	r.wantInLog()
	events := r.issuer.Public.metrics.signals
	for _, c := range []struct {
		labels []string
		want   float64
	}{{[]string{"other", "ignored"}, 1}, {[]string{"account_disabled", "unmapped"}, 3}} {
		if n := testutil.ToFloat64(events.WithLabelValues(c.labels...)); n != c.want {
			t.Errorf("%v: expected %v, got %v", c.labels, c.want, n)
		}
	}
	if n := strings.Count(r.logged.String(), "see signals.subjects"); n != 1 ||
		strings.Contains(r.logged.String(), "a@b.c") {
		t.Errorf("expected one line without the subject, got\n%s", r.logged)
	}
}

// TestAMessageThatIsRefusedHasStoredNothing: one that logs somebody out and has, beside that, a
// verification that nobody has asked for.
func TestAMessageThatIsRefusedHasStoredNothing(t *testing.T) {
	r := newPushedOnMiniredis(t)
	answer := r.push(r.signed(r.event(ssf.SessionRevoked, anyOne).With("events",
		`{"`+ssf.SessionRevoked.URI()+`":{},"`+ssf.Verification.URI()+`":{"state":"nobody's"}}`)))
	if answer.status != http.StatusBadRequest {
		t.Errorf("expected 400, got %d %s", answer.status, answer.text)
	}
	r.wantInLog()
}

// TestAMappingSaysWhomASubjectMeans: where the subject of its tokens is an email address.
func TestAMappingSaysWhomASubjectMeans(t *testing.T) {
	r := newReceivingOnMiniredis(t, func(cfg *Config) {
		pushedTo(t)(cfg)
		for i := range cfg.Senders {
			cfg.Senders[i].SessionsOf = "https://tokens-of-" + cfg.Senders[i].Issuer[8:]
			cfg.Senders[i].Signals.Subjects = map[string]string{"email": "sub"}
		}
	})
	wantTaken(t, r.push(r.signed(r.event(ssf.AccountDisabled,
		`{"format":"email","email":"a@b.c"}`))))
	r.wantInLog("https://tokens-of-a.example sub a@b.c")
}

// TestAStreamIsVerified, and a state that nobody has asked with is refused.
func TestAStreamIsVerified(t *testing.T) {
	tr := streamtest.New(t)
	r := newPolled(t, tr, sessiontest.Open(t, miniredis.RunT(t).Addr()))
	verification := func(id, state string) {
		tr.Send(id, tr.Message(id, ssf.Verification.URI(), `{"state":"`+state+`"}`,
			`{"format":"opaque","id":"stream-1"}`))
	}
	r.run(t)
	eventually.True(t, "a verification to be asked for", func() bool { return len(tr.States()) > 0 })
	verification("wrong", "nobody's")
	verification("right", tr.States()[0])
	eventually.True(t, "both to be answered", func() bool { return tr.Left() == 0 })
	if _, code := tr.Acked("wrong"); code != "invalid_state" {
		t.Errorf("expected invalid_state, got %q", code)
	}
	if acked, _ := tr.Acked("right"); !acked {
		t.Error("the right one is not acknowledged")
	}
	if n := testutil.ToFloat64(r.issuer.Public.metrics.signals.
		WithLabelValues("verification", "stream")); n != 1 {
		t.Errorf("expected one verification, got %v", n)
	}
}

// polled is an issuer that polls a transmitter.
type polled struct{ *house }

func newPolled(t *testing.T, tr *streamtest.Transmitter, c *redisconn.Client) *polled {
	t.Helper()
	return &polled{newHouse(t, c, func(cfg *Config) { cfg.Senders = []sender.Config{polledAt(t, tr)} })}
}

// polledAt is the entry of a sender that is polled.
func polledAt(t *testing.T, tr *streamtest.Transmitter) sender.Config {
	t.Helper()
	return sender.Config{
		Issuer: tr.URL, JWKSURL: tr.URL + "/jwks",
		Signals: stream.Config{
			Delivery: stream.Poll, ClientID: streamtest.Client,
			ClientSecretFile: secretFile(t, streamtest.Secret),
			CheckEvery:       time.Second, PollEvery: 10 * time.Millisecond,
		},
	}
}

func (p *polled) run(t *testing.T) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := p.issuer.Streams[0].Run(ctx); err != nil {
			t.Error(err)
		}
	}()
	stop = func() { cancel(); <-done }
	t.Cleanup(stop)
	return stop
}

// TestAPolledEventIsAcknowledgedOnlyOnceStored: while the log fails it comes again; what is refused
// is told its code; and nothing that is acknowledged is missing in the log.
func TestAPolledEventIsAcknowledgedOnlyOnceStored(t *testing.T) {
	sessiontest.EachRedis(t, func(t *testing.T, c *redisconn.Client) {
		tr := streamtest.New(t)
		p := newPolled(t, tr, c)
		subject := func(sub string) string {
			return fmt.Sprintf(`{"format":"iss_sub","iss":%q,"sub":%q}`, tr.URL, sub)
		}
		var appended, stored atomic.Int64
		p.log.Fail(func(call string) error {
			// Some never get there, of some the acknowledgement is lost. Each is counted by itself: they
			// come in turn.
			switch call {
			case "append":
				if n := appended.Add(1); n < 20 && n%2 == 0 {
					return sessiontest.ErrInjected
				}
			case "lost":
				if n := stored.Add(1); n < 40 && n%3 == 0 {
					return sessiontest.ErrInjected
				}
			}
			return nil
		})
		const messages = 60
		for n := range messages {
			id := fmt.Sprint("m", n)
			tr.Send(id, tr.Message(id, ssf.AccountDisabled.URI(), "{}", subject(fmt.Sprint("user-", n))))
		}
		tr.Send("foreign", tr.Message("foreign", ssf.AccountDisabled.URI(), "{}", anyOne))
		tr.Send("renamed", tr.Message("another", ssf.AccountDisabled.URI(), "{}", subject("x")))
		p.run(t)
		eventually.True(t, "all to be answered", func() bool { return tr.Left() == 0 })
		inLog := map[string]bool{}
		for _, e := range p.log.Entries() {
			if e.InLog {
				inLog[e.Value] = true
			}
		}
		for n := range messages {
			user := fmt.Sprint("user-", n)
			if acked, _ := tr.Acked(fmt.Sprint("m", n)); !acked || !inLog[user] {
				t.Errorf("message %d: acknowledged %v, stored %v", n, acked, inLog[user])
			}
		}
		for id, want := range map[string]string{"foreign": "access_denied",
			"renamed": "invalid_request"} {
			if _, code := tr.Acked(id); code != want {
				t.Errorf("%s: expected %s, got %q", id, want, code)
			}
		}
		if appended.Load() <= messages || stored.Load() <= messages {
			t.Errorf("nothing was tried again: %d appends, of which %d got there", appended.Load(),
				stored.Load())
		}
	})
}

// TestAStreamBringsMessagesOfItsOwnIssuerAlone: another sender's, signed and for us as they are, are
// refused, whatever brought them there.
func TestAStreamBringsMessagesOfItsOwnIssuerAlone(t *testing.T) {
	tr, other := streamtest.New(t), streamtest.New(t)
	p := &polled{newHouse(t, sessiontest.Open(t, miniredis.RunT(t).Addr()), func(cfg *Config) {
		cfg.Senders = []sender.Config{polledAt(t, tr), polledAt(t, other)}
	})}
	about := func(of *streamtest.Transmitter) string {
		return of.Message("message", ssf.AccountDisabled.URI(), "{}",
			fmt.Sprintf(`{"format":"iss_sub","iss":%q,"sub":"bob"}`, of.URL))
	}
	tr.Send("message", about(other))
	stop := p.run(t)
	eventually.True(t, "it to be answered", func() bool { return tr.Left() == 0 })
	if _, code := tr.Acked("message"); code != "invalid_issuer" {
		t.Errorf("expected invalid_issuer, got %q", code)
	}
	if n := len(p.log.Entries()); n != 0 {
		t.Errorf("it made %d entries", n)
	}
	tr.Send("message", about(tr)) // its own, it may
	eventually.True(t, "it to be acknowledged", func() bool {
		acked, _ := tr.Acked("message")
		return acked
	})
	stop()
	if n := len(p.log.Entries()); n != 1 {
		t.Errorf("its own made %d entries", n)
	}
}

// TestASenderWithoutSecurityEventsHasNoEndpointForThem.
func TestASenderWithoutSecurityEventsHasNoEndpointForThem(t *testing.T) {
	r := newReceivingOnMiniredis(t, nil)
	wantStatus(t, r.push(r.signed(r.event(ssf.SessionRevoked, aSession))), http.StatusNotFound,
		"not_found")
}

// TestARefusedSecurityEventIsRecordedUnderItsSender, as a refused logout token is: its signature was
// the sender's.
func TestARefusedSecurityEventIsRecordedUnderItsSender(t *testing.T) {
	r := newPushedOnMiniredis(t)
	late := r.event(ssf.SessionRevoked, aSession).With("aud", josetest.Text("billing"))
	r.wantRefused(r.push(r.signed(late)), ssf.InvalidAudience)
	if got := r.audited.String(); !strings.Contains(got, `"issuer":"`+senderA+`"`) {
		t.Errorf("the audit log does not name the sender: %s", got)
	}
}

// TestWhatAlertsCountIsThereFromTheStart: a counter that begins with the first refusal has never
// risen, for Prometheus.
func TestWhatAlertsCountIsThereFromTheStart(t *testing.T) {
	m := newPushedOnMiniredis(t).issuer.Public.metrics
	if n := testutil.CollectAndCount(m.messages); n != 9 {
		t.Errorf("%d series of messages, expected 3 outcomes of 3 channels", n)
	}
	if n := testutil.CollectAndCount(m.signals); n != len(ssf.Ending()) {
		t.Errorf("%d series of security events, expected one for each type that ends something", n)
	}
}
