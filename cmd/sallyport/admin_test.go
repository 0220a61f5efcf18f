package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/sallyport/sallyport/internal/adminapi"
	"github.com/sallyport/sallyport/internal/config"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// adminServer answers as an issuer's admin API does, by path.
func adminServer(t *testing.T, handle http.HandlerFunc) {
	t.Helper()
	server := httptest.NewServer(handle)
	t.Cleanup(server.Close)
	token := filepath.Join(t.TempDir(), "token")
	write(t, token, adminToken+"\n")
	t.Setenv(adminURLVariable, server.URL)
	t.Setenv(adminTokenVariable, token)
}

func TestFlagsWinOverTheEnvironment(t *testing.T) {
	adminServer(t,
		func(http.ResponseWriter, *http.Request) { t.Error("asked what the environment names") })
	admin, token, _ := adminStub(t, http.StatusOK, `{"revoked":true,"seq":5,"applied":"1/1"}`)
	out, _, err := sallyport("", "revoke", "--jti", "x", "--issuer-admin", admin, "--token-file",
		token)
	if err != nil || !strings.Contains(out, "entry 5") {
		t.Errorf("%v\n%s", err, out)
	}
}

// TestWhatASelectorAsksFor, member by member: the issuer takes no other.
func TestWhatASelectorAsksFor(t *testing.T) {
	for name, row := range map[string]struct {
		args []string
		want string
	}{
		"jti": {[]string{"--jti", "a"}, `"kind":"jti","reason":"leaked","value":"a"`},
		"sid": {[]string{"--sid", "-a~b"}, `"kind":"sid","reason":"leaked","value":"-a~b"`},
		"sub": {[]string{"--sub", "a b"}, `"kind":"sub","reason":"leaked","value":"a b"`},
		"client of an issuer": {[]string{"--client", "a", "--issuer", "https://i"},
			`"issuer":"https://i","kind":"client","reason":"leaked","value":"a"`},
		"tenant up to a time": {[]string{"--tenant", "a", "--issued-before", "2026-01-31T12:00:00Z"},
			`"issued_before":"2026-01-31T12:00:00Z","kind":"tenant","reason":"leaked","value":"a"`},
		"kid": {[]string{"--kid", "a"}, `"kind":"kid","reason":"leaked","value":"a"`},
		"iss": {[]string{"--iss", "https://i"},
			`"issuer":"https://i","kind":"iss","reason":"leaked"`},
	} {
		t.Run(name, func(t *testing.T) {
			var got []byte
			adminServer(t, func(w http.ResponseWriter, r *http.Request) {
				var err error
				if got, err = io.ReadAll(r.Body); err != nil {
					t.Error(err)
				}
				if r.URL.RequestURI() != "/admin/revocations?wait=2s" {
					t.Errorf("asked %s", r.URL.RequestURI())
				}
				_, _ = io.WriteString(w, `{"revoked":true,"seq":1}`)
			})
			args := append([]string{"revoke", "--actor", "ops", "--reason", "leaked"}, row.args...)
			if _, _, err := sallyport("", args...); err != nil {
				t.Fatal(err)
			}
			if want := `{"actor":"ops",` + row.want + `}`; string(got) != want {
				t.Errorf("expected %s, got %s", want, got)
			}
			d := json.NewDecoder(bytes.NewReader(got))
			d.DisallowUnknownFields()
			var asked adminapi.Revocation
			if err := d.Decode(&asked); err != nil || asked.Actor != "ops" {
				t.Errorf("the issuer would read %+v, %v", asked, err)
			}
		})
	}
}

func TestNothingIsAskedForThatMakesNoSense(t *testing.T) {
	adminServer(t, func(http.ResponseWriter, *http.Request) { t.Error("the issuer was asked") })
	empty, several := filepath.Join(t.TempDir(), "empty"), filepath.Join(t.TempDir(), "several")
	write(t, empty, "\n")
	write(t, several, "a\nb\n")
	for name, row := range map[string]struct {
		args []string
		want string
	}{
		"no selector":   {[]string{"revoke"}, "exactly one of --jti"},
		"two selectors": {[]string{"revoke", "--jti", "a", "--sid", "b"}, "exactly one of --jti"},
		"iss as whose":  {[]string{"revoke", "--sub", "a", "--iss", "b"}, "--issuer says whose"},
		"iss and issuer": {
			[]string{"revoke", "--iss", "a", "--issuer", "b"}, "exactly one of --jti",
		},
		"an empty value": {[]string{"revoke", "--sub", ""}, "a value for --sub"},
		"no time": {
			[]string{"revoke", "--client", "a", "--issued-before", "yesterday"}, "2026-01-31T12:00:00Z",
		},
		"a wait below 0":  {[]string{"revoke", "--jti", "a", "--wait", "-1s"}, "0 or more"},
		"an argument":     {[]string{"revoke", "alice"}, "unknown command"},
		"a list below 0":  {[]string{"revocations", "list", "--limit", "-1"}, "0 or more"},
		"show of nothing": {[]string{"revocations", "show"}, "the place of an entry"},
		"show of both": {
			[]string{"revocations", "show", "1", "--jti", "a"}, "the place of an entry",
		},
		"show of no place":      {[]string{"revocations", "show", "x"}, "as 17"},
		"a watch without pause": {[]string{"revocations", "watch", "--interval", "1ms"}, "at least 50ms"},
		"an address of none":    {[]string{"status", "--issuer-admin", "here"}, `got "here"`},
		"a password in it":      {[]string{"status", "--issuer-admin", "http://a:b@c"}, "--issuer-admin"},
		"a token of none":       {[]string{"status", "--token-file", empty}, "one line"},
		"tokens":                {[]string{"status", "--token-file", several}, "one line"},
		"no such file":          {[]string{"status", "--token-file", empty + "x"}, "no such file"},
	} {
		t.Run(name, func(t *testing.T) {
			out, _, err := sallyport("", row.args...)
			if err == nil || !strings.Contains(err.Error(), row.want) || exitStatus(err) != 1 || out != "" {
				t.Errorf("expected %q, got %q and: %v", row.want, out, err)
			}
		})
	}
}

// TestAPortThatIsNoAdminPortIsSaidToBeNone, be it that it says what it is instead: an issuer's public
// one does.
func TestAPortThatIsNoAdminPortIsSaidToBeNone(t *testing.T) {
	for _, hint := range []string{"", " This is an issuer of tokens."} {
		port := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(http.StatusNotFound)
			fmt.Fprintf(w, `{"error":"not_found","error_description":%q}`, adminapi.NothingHere+hint)
		}))
		defer port.Close()
		client := newAdminClient(port.URL, config.NewSecret("x"), adminOf{daemon: "issuer"})
		err := client.call(t.Context(), http.MethodGet, "/admin/status", nil, nil)
		if err == nil || !strings.Contains(err.Error(), "not the admin port of a running issuer") {
			t.Errorf("%q: got %v", hint, err)
		}
	}
}

func TestARevocationThatIsNotAcknowledgedSaysSo(t *testing.T) {
	adminServer(t, func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusServiceUnavailable)
		_, _ = io.WriteString(w, `{"error":"temporarily_unavailable","error_description":"Try again."}`)
	})
	out, _, err := sallyport("", "revoke", "--jti", "x")
	if err == nil || exitStatus(err) != 1 || out != "" ||
		!strings.Contains(err.Error(), "not acknowledged") ||
		strings.Contains(err.Error(), adminToken) {
		t.Errorf("%q, %v", out, err)
	}
	t.Setenv(adminURLVariable, "http://127.0.0.1:1")
	if _, _, err := sallyport("", "revoke", "--jti", "x"); err == nil ||
		!strings.Contains(err.Error(), "not acknowledged") {
		t.Errorf("nobody answers: %v", err)
	}
}

// TestARevocationElsewhereSaysWhatGoesOnAndUntilWhenItHolds: also that it is not ended there; and
// the help says what is ended where.
func TestARevocationElsewhereSaysWhatGoesOnAndUntilWhenItHolds(t *testing.T) {
	text := `{"revoked":true,"seq":7,"issuer":"https://keycloak.example",` +
		`"effect":"Refuses every token. Not ended there.\u001b[2J","until":"2026-03-01T12:00:00Z"}`
	adminServer(t, func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, text) })
	revoke := func(args ...string) string {
		t.Helper()
		out, _, err := sallyport("", append([]string{"revoke", "--sid", "x"}, args...)...)
		if err != nil {
			t.Fatal(err)
		}
		return out
	}
	out := revoke("--issuer", "https://keycloak.example")
	if !strings.Contains(out, "Not ended there.") || strings.Contains(out, "\x1b") ||
		!strings.HasSuffix(out, "\nThat holds until 2026-03-01T12:00:00Z.\n") {
		t.Errorf("printed %q", out)
	}
	text = `{"revoked":true,"seq":7,"issuer":"https://login.example","sessions":1}`
	if out = revoke(); strings.Contains(out, "holds until") || strings.Count(out, "\n") != 1 {
		t.Errorf("of a session that is ended it printed %q", out)
	}
	help, _, err := sallyport("", "revoke", "--help")
	for _, want := range []string{
		"What ends where", "other_issuers", "max_session_lifetime", "auth_time",
	} {
		if err != nil || !strings.Contains(help, want) {
			t.Errorf("the help does not speak of %s: %v", want, err)
		}
	}
}

// TestNoNameReachesTheTerminalRaw: a gate chooses its name and its version, and may be in the wrong
// hands.
func TestNoNameReachesTheTerminalRaw(t *testing.T) {
	const hostile = "\u001b]0;owned\u0007\u202egate\n"
	text, err := json.Marshal(hostile)
	if err != nil {
		t.Fatal(err)
	}
	raw := string(text)
	adminServer(t, func(w http.ResponseWriter, r *http.Request) {
		switch {
		case r.Method == http.MethodPost && r.URL.Query().Has("dry_run"):
			_, _ = io.WriteString(
				w,
				`{"dry_run":true,"issuer":`+raw+`,"effect":`+raw+`,"sessions_known":true,`+
					`"sessions_total":1,"sessions":[{"id":`+raw+`,"subject":`+raw+`}]}`,
			)
		case r.Method == http.MethodPost:
			w.WriteHeader(http.StatusAccepted)
			_, _ = io.WriteString(w, `{"revoked":true,"seq":1,"applied":`+raw+`,"behind":[`+raw+`]}`)
		case r.URL.Path == "/admin/status":
			_, _ = io.WriteString(
				w,
				`{"head":{"epoch":`+raw+`},"gates":[{"name":`+raw+`,"version":`+raw+`,"state":`+raw+
					`,"live":true}],"issuers":[]}`,
			)
		case r.URL.Path == "/admin/revocations":
			_, _ = io.WriteString(
				w,
				`{"entries":[{"seq":1,"kind":"jti","value":`+raw+`,"reason":`+raw+`,"actor":`+raw+
					`}],"last":1}`,
			)
		default:
			_, _ = io.WriteString(w,
				`{"seq":1,"kind":"jti","value":`+raw+`,"reason":`+raw+`,"actor":`+raw+`}`)
		}
	})
	for _, args := range [][]string{
		{"status"}, {"revoke", "--jti", hostile}, {
			"revoke", "--jti", hostile, "--dry-run",
		}, {"revocations", "list"}, {"revocations", "show", "1"},
	} {
		out, _, err := sallyport("", args...)
		if err != nil {
			out += err.Error()
		}
		if strings.ContainsAny(out, "\u001b\u0007\u202e") || !strings.Contains(out, "gate") {
			t.Errorf("%v printed %q", args, out)
		}
	}
}

// TestStatusWaitsForWhoIsOnlyBehind: what comes into the log after the first look is nobody's
// fault.
func TestStatusWaitsForWhoIsOnlyBehind(t *testing.T) {
	looks := 0
	answers := []string{
		`{"head":{"epoch":"e","seq":7},"gates":[{"name":"g","state":"behind","epoch":"e","seq":6,` +
			`"lag":1,"live":true}]}`,
		`{"head":{"epoch":"e","seq":9},"gates":[{"name":"g","state":"behind","epoch":"e","seq":7,` +
			`"lag":2,"live":true}]}`,
	}
	adminServer(t, func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, answers[min(looks, len(answers)-1)])
		looks++
	})
	var got adminapi.Status
	out, _, err := sallyport("", "status", "--json", "--within", "1m")
	if err != nil || json.Unmarshal([]byte(out), &got) != nil || looks != 2 || !got.Well ||
		*got.Gates[0].Lag != 2 {
		t.Errorf("%v after %d looks\n%s", err, looks, out)
	}
	looks, answers = 0, answers[:1]
	if _, _, err := sallyport("", "status", "--within", "0s"); exitStatus(err) != 2 || looks != 1 {
		t.Errorf("%v after %d looks", err, looks)
	}
}

func TestStatusForgivesTheGoneOnlyWhenAskedTo(t *testing.T) {
	adminServer(t, func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w,
			`{"head":{"epoch":"e","seq":7},"gates":[{"name":"g","state":"gone","epoch":"e","seq":6}]}`)
	})
	if _, _, err := sallyport("", "status"); exitStatus(err) != 2 ||
		!strings.Contains(err.Error(), "g is gone") {
		t.Errorf("got %v", err)
	}
	if _, _, err := sallyport("", "status", "--ignore-gone"); err != nil {
		t.Errorf("got %v", err)
	}
}

// TestAWatchBeginsAnewWithTheLog: places of another epoch say nothing.
func TestAWatchBeginsAnewWithTheLog(t *testing.T) {
	asked := make(chan string, 100)
	lives := map[string]string{
		"0": `{"head":{"epoch":"b","seq":2},"entries":[{"seq":1,"kind":"epoch"},` +
			`{"seq":2,"kind":"jti","value":"second"}],"last":2}`,
		"7": `{"head":{"epoch":"b","seq":2},"entries":[],"last":7}`,
		"2": `{"head":{"epoch":"b","seq":2},"entries":[],"last":2}`,
	}
	first := true
	adminServer(t, func(w http.ResponseWriter, r *http.Request) {
		after := r.URL.Query().Get("after")
		if first {
			first = false
			_, _ = io.WriteString(w,
				`{"head":{"epoch":"a","seq":7},"entries":[{"seq":1,"kind":"epoch"}],"last":1,"next":1}`)
			return
		}
		select {
		case asked <- after:
		default:
		}
		_, _ = io.WriteString(w, lives[after])
	})
	var printed, notes bytes.Buffer
	w := &watch{interval: minInterval, out: &printed, notes: &notes}
	w.selector.bind(newStatus().Flags())
	ctx := t.Context()
	api, err := w.admin.open()
	if err != nil {
		t.Fatal(err)
	}
	if err := w.begin(ctx, api); err != nil || w.after != 7 {
		t.Fatalf("begins behind %d, %v", w.after, err)
	}
	for range 3 {
		if _, err := w.step(ctx, api, nil); err != nil {
			t.Fatal(err)
		}
	}
	if got := printed.String(); strings.Count(got, "\n") != 2 || !strings.Contains(got, "second") ||
		strings.Count(notes.String(), "begun anew") != 1 {
		t.Errorf("printed\n%s\nand\n%s", got, notes.String())
	}
	if w.after != 2 {
		t.Errorf("goes on behind %d", w.after)
	}
}

func TestTimesAreShortEnoughToRead(t *testing.T) {
	for seconds, want := range map[float64]string{
		0.26: "300ms", 9.94: "9.9s", 59.6: "1m0s", 3700: "1h2m",
	} {
		if got := ago(&seconds); got != want {
			t.Errorf("%v s (%s): expected %s, got %s", seconds, time.Duration(seconds*1e9), want, got)
		}
	}
	if got := ago(nil); got != "-" {
		t.Errorf("unknown: %s", got)
	}
}

func TestPathsAreQuotedForTheShell(t *testing.T) {
	for path, want := range map[string]string{
		"/tmp/a-b_c.d": "/tmp/a-b_c.d", "/a b": "'/a b'", "/it's": `'/it'\''s'`, "/$(x)": "'/$(x)'",
	} {
		if got := shellQuote(path); got != want {
			t.Errorf("%s: expected %s, got %s", path, want, got)
		}
	}
}

// TestEveryFlagIsDocumented: docs/operations.md names every flag of the commands that talk to an
// issuer.
func TestEveryFlagIsDocumented(t *testing.T) {
	page := read(t, filepath.Join("..", "..", "docs", "operations.md"))
	flags := 0
	for _, cmd := range []*cobra.Command{newRevoke(), newStatus(), newRevocationsList(), newUsers()} {
		cmd.LocalFlags().VisitAll(func(f *pflag.Flag) {
			if flags++; !strings.Contains(page, "`--"+f.Name) {
				t.Errorf("docs/operations.md does not mention --%s of %s", f.Name, cmd.Name())
			}
		})
	}
	if flags < 20 {
		t.Errorf("saw only %d flags", flags)
	}
}
