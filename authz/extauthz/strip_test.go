package extauthz

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"

	"github.com/sallyport/sallyport/authz"
	"github.com/sallyport/sallyport/authz/authztest"
	"github.com/sallyport/sallyport/authz/check"
	"github.com/sallyport/sallyport/authz/extauthz/door"
	"github.com/sallyport/sallyport/internal/token"
)

// byEnvoy has a gate rely on Envoy to remove headers.
func byEnvoy(c *Config) { c.Strip = door.StripEnvoy }

// everywhere is a request to each kind of route that lets somebody pass, with more headers.
func everywhere(w *authztest.World, headers ...string) map[string]authz.Request {
	alice := append([]string{"authorization", "Bearer " + w.Token()}, headers...)
	return map[string]authz.Request{
		"public":   authztest.Get("/public", headers...),
		"optional": authztest.Get("/maybe", headers...),
		"alice":    authztest.Get("/protected", alice...),
	}
}

// TestNothingPassesAnEnvoyThatDoesNotSayItStrips: who forgets Envoy's part finds out by the first
// request, on public routes too, and not by the first attack.
func TestNothingPassesAnEnvoyThatDoesNotSayItStrips(t *testing.T) {
	for name, mark := range map[string][]string{
		"without the mark":  nil,
		"an empty mark":     {check.HeaderStripped, ""},
		"another value":     {check.HeaderStripped, "0"},
		"a client's before": {check.HeaderStripped, "1,1"},
		"another spelling":  {"x_sallyport_stripped", "1"},
		"in capitals":       {"X-Sallyport-Stripped", "1"}, // Envoy's names are in lower case
	} {
		t.Run(name, func(t *testing.T) {
			b := start(t, authztest.New(), byEnvoy)
			for route, r := range everywhere(b.world, mark...) {
				for _, raw := range []bool{false, true} {
					want := authztest.Unavailable(token.ReasonNotStripped)
					t.Run(
						route,
						func(t *testing.T) { authztest.Compare(t, want, b.ask(t, raw)(r)) },
					)
				}
			}
			for _, e := range b.lines.All() {
				if !strings.HasPrefix(e.Detail, "expected x-sallyport-stripped: 1,") {
					t.Errorf("the audit line says %q", e.Detail)
				}
			}
			if n := len(b.lines.All()); n != 6 {
				t.Errorf("%d audit lines of 6 refusals", n)
			}
		})
	}
}

// TestWhatEnvoyHasStrippedPassesWithAShortAnswer, of which the mark is no part.
func TestWhatEnvoyHasStrippedPassesWithAShortAnswer(t *testing.T) {
	b := start(t, authztest.New(), byEnvoy)
	for route, r := range everywhere(b.world, check.HeaderStripped, check.Stripped) {
		for _, raw := range []bool{false, true} {
			got := b.ask(t, raw)(r)
			want := authztest.Anybody
			if route == "alice" {
				want = authztest.Alice
			}
			authztest.Compare(t, want, got)
			if n := len(got.Remove); n > len(authz.IdentityHeaders()) {
				t.Errorf("%s: the answer removes %d headers", route, n)
			}
		}
	}
}

// TestAHeaderThatEnvoyWasToRemoveIsRefused: if it has passed on one, it may pass on others that it
// does not show. A refusal for another reason stays what it is.
func TestAHeaderThatEnvoyWasToRemoveIsRefused(t *testing.T) {
	b := start(t, authztest.New(), byEnvoy)
	for _, name := range []string{"x_auth_subject", "x.auth.roles", "x-auth~scope", "x-original-url"} {
		for route, r := range everywhere(b.world, check.HeaderStripped, check.Stripped, name, "root") {
			t.Run(route, func(t *testing.T) {
				authztest.Compare(
					t,
					authztest.Unavailable(token.ReasonNotStripped),
					b.ask(t, false)(r),
				)
			})
		}
	}
	authztest.Compare(
		t,
		authztest.NoToken,
		b.ask(
			t,
			false,
		)(
			authztest.Get(
				"/protected",
				check.HeaderStripped,
				check.Stripped,
				"x_auth_subject",
				"root",
			),
		),
	)
}

// TestTheMarkTwiceIsMalformed: Envoy sets it once, in place of any other.
func TestTheMarkTwiceIsMalformed(t *testing.T) {
	b := start(t, authztest.New(), byEnvoy)
	r := authztest.Get(
		"/public",
		check.HeaderStripped,
		check.Stripped,
		check.HeaderStripped,
		check.Stripped,
	)
	authztest.Compare(t, authztest.Malformed(token.ReasonBadRequest), b.ask(t, true)(r))
}

// TestTheLogSaysOnceThatEnvoyDoesNotStrip, however many requests are refused for it.
func TestTheLogSaysOnceThatEnvoyDoesNotStrip(t *testing.T) {
	var log bytes.Buffer
	w, c := authztest.New(), DefaultConfig()
	byEnvoy(&c)
	s, err := New(w.Engine(NewWire(c)), c, Options{
		Ready: func() error { return nil },
		Check: check.Options{Instant: clock(), Logger: slog.New(slog.NewTextHandler(&log, nil))},
	})
	if err != nil {
		t.Fatal(err)
	}
	for range 3 {
		var r checkRequest
		r.read(encoded(authztest.Get("/public"), false))
		d := s.checker.Check(t.Context(), &r.Request)
		if d.Allow || d.Reason() != string(token.ReasonNotStripped) {
			t.Fatalf("got %s", d.Reason())
		}
	}
	if n := strings.Count(log.String(), "Envoy does not remove"); n != 1 {
		t.Errorf("the log says it %d times: %s", n, log.String())
	}
}

// TestAConfigurationSaysWhoStripsNothing, and what to write instead.
func TestAConfigurationSaysWhoStripsNothing(t *testing.T) {
	for strip, want := range map[string]int{door.StripEnvoy: 0, door.StripSeen: 1, door.StripAll: 1} {
		notes := Config{Strip: strip}.Notes()
		if len(notes) != want ||
			want == 1 && !strings.Contains(notes[0], "`ext_authz: {strip: envoy}`") {
			t.Errorf("%s: %q", strip, notes)
		}
	}
}
