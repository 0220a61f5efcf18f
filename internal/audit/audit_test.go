package audit_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"log/slog"
	"os"
	"reflect"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"go.uber.org/goleak"

	"github.com/sallyport/sallyport/internal/audit"
	"github.com/sallyport/sallyport/internal/eventually"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var update = flag.Bool("update", false, "write the golden files anew")

var noon = time.Date(2026, 11, 22, 12, 0, 0, 123456789, time.FixedZone("", 3600))

func clock() time.Time { return noon }

// golden has one event of each kind, with what its room fills in.
var golden = []audit.Event{
	{
		Name:      audit.Login,
		Outcome:   audit.Success,
		Issuer:    "https://issuer",
		Subject:   "alice",
		SessionID: "tag~0001",
		ClientID:  "sallyport",
		Tenant:    "north",
		Address:   "192.0.2.1",
		UserAgent: "curl/8",
		Method:    "POST",
		Path:      "/login",
		RequestID: "r-1",
	},
	{
		Name:    audit.Login,
		Outcome: audit.Failure,
		Reason:  "invalid_credentials",
		Issuer:  "https://issuer",
		Subject: "mallory",
		Address: "2001:db8::1",
	},
	{
		Name: audit.Refresh, Outcome: audit.Success, Subject: "alice", SessionID: "tag~0001",
		TokenID: "t-2",
	},
	{
		Name: audit.Reuse, Outcome: audit.Failure, Reason: "reuse", Subject: "alice",
		SessionID: "tag~0001",
	},
	{Name: audit.Logout, Outcome: audit.Success, Subject: "alice", SessionID: "tag~0001", Seq: 42},
	{
		Name: audit.Revoke, Outcome: audit.Success, Actor: "ops", Kind: "client",
		Value: "sallyport", RevocationReason: "key_leaked", Seq: 43,
	},
	{
		Name:      audit.Deny,
		Outcome:   audit.Failure,
		Reason:    "revoked",
		Issuer:    "https://issuer",
		Subject:   "alice",
		TokenID:   "t-1",
		KeyID:     "k1",
		Method:    "GET",
		Host:      "api.example.com",
		Path:      "/admin",
		Address:   "192.0.2.1",
		RequestID: "r-2",
		Kind:      "sid",
		Seq:       42,
	},
	{Name: audit.Key, Outcome: audit.Success, KeyID: "k2", Actor: "ops", Kind: "promote"},
	{Name: audit.Users, Outcome: audit.Success, Actor: "ops"},
	{
		Name: audit.Deny, Reason: "audience",
		Detail: "expected aud to name one of things, got others", Path: "/x",
	},
	{Name: "unheard of"},
	{Name: audit.Deny, Reason: "no_token", Suppressed: 1234},
}

func lines(t *testing.T, events ...audit.Event) string {
	t.Helper()
	var out bytes.Buffer
	l := audit.New(&out, audit.Options{Now: clock})
	for _, e := range events {
		l.Record(e)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	return out.String()
}

// TestEachKindOfEventHasExactlyTheseFields fails when a line changes, so that a new field is
// looked at before it is written: run with -update, and read the difference.
func TestEachKindOfEventHasExactlyTheseFields(t *testing.T) {
	got := lines(t, golden...)
	const file = "testdata/events.jsonl"
	if *update {
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

// TestEveryFieldOfAnEventIsInItsLine fills every field, by reflection, and finds each in the line.
func TestEveryFieldOfAnEventIsInItsLine(t *testing.T) {
	var e audit.Event
	v := reflect.ValueOf(&e).Elem()
	want := map[string]any{}
	for i := range v.NumField() {
		switch f := v.Field(i); f.Kind() {
		case reflect.String:
			f.SetString(fmt.Sprintf("value-%d", i))
			if f.Type() == reflect.TypeFor[audit.Outcome]() {
				f.SetString(string(audit.Success))
			}
			want[f.String()] = nil
		case reflect.Uint64:
			f.SetUint(77)
		case reflect.Struct:
			f.Set(reflect.ValueOf(noon))
		default:
			t.Fatalf("a field of kind %v", f.Kind())
		}
	}
	var got map[string]any
	if err := json.Unmarshal([]byte(lines(t, e)), &got); err != nil {
		t.Fatal(err)
	}
	if len(got) != v.NumField() || got["time"] != "2026-11-22T11:00:00.123456Z" ||
		got["seq"] != 77.0 ||
		got["suppressed"] != 77.0 {
		t.Errorf("%d fields, time %v, seq %v, suppressed %v", len(got), got["time"], got["seq"],
			got["suppressed"])
	}
	for _, value := range got {
		if s, ok := value.(string); ok {
			delete(want, s)
		}
	}
	if len(want) > 0 {
		t.Errorf("not in the line: %v", want)
	}
}

// hostile are texts that a stranger may put into a name, a path, a kid or a User-Agent.
var hostile = []string{
	"a\r\nb",
	"a\nb",
	`"`,
	`\`,
	`","outcome":"success`,
	"\x1b[2J\x1b]0;x\x07",
	"\u2028\u2029",
	"\u0085",
	"\x9b31m",
	"\u009b31m",
	"\x00",
	"\x7f",
	"\u202eevil",
	"\ufeff",
	"\xff\xfe",
	"\xed\xa0\x80",
	"\U0001f512",
	"é",
	"</script>",
	"\t",
	string([]byte{0xc0, 0xaf}),
	strings.Repeat("\x80", 300),
}

// TestAnEventIsOneLineOfASCIIAndOneJSONObject is the attack of log injection.
func TestAnEventIsOneLineOfASCIIAndOneJSONObject(t *testing.T) {
	for _, text := range hostile {
		checkLine(t, text)
	}
}

func checkLine(t *testing.T, text string) {
	t.Helper()
	e := audit.Event{
		Name:      audit.Name(text),
		Outcome:   audit.Outcome(text),
		Reason:    text,
		Subject:   text,
		SessionID: text,
		TokenID:   text,
		KeyID:     text,
		UserAgent: text,
		Path:      text,
		Host:      text,
		Method:    text,
		RequestID: text,
		Address:   text,
		Actor:     text,
		Value:     text,
	}
	line := lines(t, e)
	if strings.Count(line, "\n") != 1 || !strings.HasSuffix(line, "}\n") {
		t.Fatalf("%q is not one line: %q", text, line)
	}
	for _, c := range []byte(strings.TrimSuffix(line, "\n")) {
		if c < ' ' || c > '~' {
			t.Fatalf("%q leaves the byte 0x%02x in %q", text, c, line)
		}
	}
	var got map[string]string
	d := json.NewDecoder(strings.NewReader(line))
	d.DisallowUnknownFields()
	if err := d.Decode(&got); err != nil {
		t.Fatalf("%q is not JSON: %v in %q", text, err, line)
	}
	kept := got["subject"]
	if len(kept) > 256*3 { // an invalid byte becomes the three of U+FFFD
		t.Fatalf("%d bytes kept of %q", len(kept), text)
	}
	if audit.Redact(text) == text && len(text) <= 256 && kept != string([]rune(text)) {
		t.Fatalf("%q became %q", text, kept)
	}
}

func TestALongFieldIsCutBetweenCharacters(t *testing.T) {
	for text, want := range map[string]string{
		strings.Repeat("a", 256):                  strings.Repeat("a", 256),
		strings.Repeat("a", 257):                  strings.Repeat("a", 256),
		strings.Repeat("a", 255) + "é":            strings.Repeat("a", 255),
		strings.Repeat("a", 253) + "\U0001f512":   strings.Repeat("a", 253),
		strings.Repeat("a", 252) + "\U0001f512xx": strings.Repeat("a", 252) + "\U0001f512",
	} {
		var got map[string]string
		if err := json.Unmarshal([]byte(lines(t, audit.Event{Subject: text})), &got); err != nil {
			t.Fatal(err)
		}
		if got["subject"] != want {
			t.Errorf("%d bytes became %d", len(text), len(got["subject"]))
		}
	}
}

const (
	accessToken = "eyJhbGciOiJFUzI1NiIsInR5cCI6ImF0K2p3dCJ9.eyJzdWIiOiJhbGljZSJ9.Y2FuYXJ5LXNpZ25h" +
		"dHVyZQ"
	refreshToken = "dGFn~Y2FuYXJ5LXNpZC0xMjM0NQ.17.Y2FuYXJ5LW1hYy0xMjM0NTY3ODkw"
)

func TestRedactTakesOutWhatHasTheShapeOfACredential(t *testing.T) {
	for text, want := range map[string]string{
		accessToken: "[redacted]",
		"token " + accessToken + ", twice " + accessToken: "token [redacted], twice [redacted]",
		"(" + accessToken + ")":                           "([redacted])",
		refreshToken:                                      "[redacted]",
		"refresh=" + refreshToken + "&x":                  "refresh=[redacted]&x",
		"Bearer abc":                                      "Bearer [redacted]",
		"authorization: bearer \t abc.def x":              "authorization: bearer \t [redacted] x",
		"BASIC dXNlcjpwYXNz":                              "BASIC [redacted]",
		"$argon2id$v=19$m=1,t=1,p=1$c2FsdA$a2V5":          "[redacted]",
		"hash $2b$12$abcdefghijklmnopqrstuv end":          "hash [redacted] end",
		"$pbkdf2-sha256$1000$a$b":                         "[redacted]",
		"":                                                "",
		"alice@example.com":                               "alice@example.com",
		"session tag~0001 of alice":                       "session tag~0001 of alice",
		"v1.2.3~rc1":                                      "v1.2.3~rc1",
		"$5 off, ~10 %":                                   "$5 off, ~10 %",
		"eyJ is how tokens begin":                         "eyJ is how tokens begin",
		"the bearer of this":                              "the bearer [redacted] this",
		"/a/../b?x=1":                                     "/a/../b?x=1",
	} {
		if got := audit.Redact(text); got != want {
			t.Errorf("%q became %q, want %q", text, got, want)
		}
	}
}

func TestLinesAreCountedByEventAndOutcomeAndNothingElse(t *testing.T) {
	registry := prometheus.NewRegistry()
	l := audit.New(&bytes.Buffer{}, audit.Options{Now: clock, Registry: registry})
	for i := range 1000 {
		l.Record(
			audit.Event{
				Name: audit.Name(fmt.Sprint(i)), Outcome: audit.Outcome(fmt.Sprint(i)),
				Subject: fmt.Sprint(i),
			},
		)
		l.Record(audit.Event{Name: audit.Login, Outcome: audit.Success})
	}
	want := `
		# HELP sallyport_audit_events_total Security events, by event and outcome.
		# TYPE sallyport_audit_events_total counter
		sallyport_audit_events_total{event="login",outcome="success"} 1000
		sallyport_audit_events_total{event="other",outcome="failure"} 1000
		# HELP sallyport_audit_lost_total Security events whose line could not be written.
		# TYPE sallyport_audit_lost_total counter
		sallyport_audit_lost_total 0
	`
	if err := testutil.GatherAndCompare(registry, strings.NewReader(want)); err != nil {
		t.Error(err)
	}
}

// moody is a writer that works or not.
type moody struct {
	mu     sync.Mutex
	broken bool
	got    bytes.Buffer
	gate   chan struct{} // if not nil, Write waits for it
}

func (m *moody) Write(p []byte) (int, error) {
	if m.gate != nil {
		<-m.gate
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.broken {
		return 0, errors.New("disk full")
	}
	return m.got.Write(p)
}

func (m *moody) set(broken bool) { m.mu.Lock(); defer m.mu.Unlock(); m.broken = broken }

func TestALostLineIsCountedAndLoggedOnce(t *testing.T) {
	var log bytes.Buffer
	w := &moody{broken: true}
	registry := prometheus.NewRegistry()
	l := audit.New(w, audit.Options{Now: clock, Registry: registry, Logger: newLogger(&log)})
	l.Record(audit.Event{Name: audit.Login})
	l.Record(audit.Event{Name: audit.Login})
	w.set(false)
	l.Record(audit.Event{Name: audit.Logout})
	l.Record(audit.Event{Name: audit.Logout})
	if got := counter(t, registry, "sallyport_audit_lost_total"); got != 2 {
		t.Errorf("%v lost", got)
	}
	if n := strings.Count(w.got.String(), "\n"); n != 2 {
		t.Errorf("%d lines", n)
	}
	want := "level=ERROR msg=\"audit: events are being lost: their lines cannot be written\" " +
		"error=\"disk full\"\n" +
		"level=WARN msg=\"audit: events are being written again\"\n"
	if log.String() != want {
		t.Errorf("log:\n%s", log.String())
	}
}

func TestWithAQueueRecordNeverWaitsAndCloseWritesWhatIsQueued(t *testing.T) {
	w := &moody{gate: make(chan struct{})}
	registry := prometheus.NewRegistry()
	l := audit.New(w, audit.Options{Now: clock, Registry: registry, Queue: 8})
	const recorded = 100
	for range recorded {
		l.Record(audit.Event{Name: audit.Deny}) // the writer is stuck
	}
	close(w.gate)
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	l.Record(audit.Event{Name: audit.Deny})
	written := strings.Count(w.got.String(), "\n")
	if written < 8 || written > 9 {
		t.Errorf("%d lines, the queue holds 8 and the writer one", written)
	}
	if lost := counter(t, registry, "sallyport_audit_lost_total"); int(lost) != recorded+1-written {
		t.Errorf("%v lost, %d written of %d", lost, written, recorded+1)
	}
	if err := l.Close(); err != nil {
		t.Error(err)
	}
}

func TestLinesOfManyWritersDoNotMix(t *testing.T) {
	for _, queue := range []int{0, 10_000} {
		w := &moody{}
		l := audit.New(w, audit.Options{Now: clock, Queue: queue})
		var wg sync.WaitGroup
		for i := range 20 {
			wg.Go(func() {
				for range 100 {
					l.Record(audit.Event{Name: audit.Login, Subject: strings.Repeat("x", i*10)})
				}
			})
		}
		wg.Wait()
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
		n := 0
		for line := range strings.Lines(w.got.String()) {
			n++
			if !json.Valid([]byte(line)) {
				t.Fatalf("mixed: %q", line)
			}
		}
		if n != 2000 {
			t.Errorf("%d lines", n)
		}
	}
}

func FuzzLine(f *testing.F) {
	for _, text := range hostile {
		f.Add(text)
	}
	f.Add(accessToken)
	f.Add(refreshToken)
	f.Fuzz(checkLine)
}

func FuzzRedact(f *testing.F) {
	for _, text := range hostile {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		once := audit.Redact(text)
		if utf8.ValidString(text) && !utf8.ValidString(once) {
			t.Errorf("%q became invalid: %q", text, once)
		}
		for _, around := range [][2]string{{"", ""}, {" ", " "}, {"\"", "\""}, {"=", "&"}} {
			got := audit.Redact(text + around[0] + " " + accessToken + " " + around[1] + text)
			if strings.Contains(got, "Y2FuYXJ5") {
				t.Errorf("a token is left beside %q: %q", text, got)
			}
		}
	})
}

// TestEveryEventIsCountedUnderItsOwnName, whichever this package declares.
func TestEveryEventIsCountedUnderItsOwnName(t *testing.T) {
	source, err := parser.ParseFile(token.NewFileSet(), "audit.go", nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	registry := prometheus.NewRegistry()
	l := audit.New(&bytes.Buffer{}, audit.Options{Now: clock, Registry: registry})
	declared := 0
	ast.Inspect(source, func(n ast.Node) bool {
		spec, ok := n.(*ast.ValueSpec)
		if ok && len(spec.Values) == 1 {
			if of, _ := spec.Type.(*ast.Ident); of != nil && of.Name == "Name" {
				text, err := strconv.Unquote(spec.Values[0].(*ast.BasicLit).Value)
				if err != nil {
					t.Error(err)
				}
				l.Record(audit.Event{Name: audit.Name(text)})
				declared++
			}
		}
		return true
	})
	series, err := testutil.GatherAndCount(registry, "sallyport_audit_events_total")
	if declared < 10 || err != nil || series != declared {
		t.Errorf("%d events declared, %d counted, %v", declared, series, err)
	}
}

// throwing panics at its first line, as a writer of somebody else's may.
type throwing struct {
	eventually.Buffer
	thrown bool
}

func (w *throwing) Write(line []byte) (int, error) {
	if !w.thrown {
		w.thrown = true
		panic("a secret")
	}
	return w.Buffer.Write(line)
}

// TestAPanicOfAWriterLosesOneLineAndNoMore: it is counted and told, and its value is not.
func TestAPanicOfAWriterLosesOneLineAndNoMore(t *testing.T) {
	w, told, registry := &throwing{}, &eventually.Buffer{}, prometheus.NewRegistry()
	l := audit.New(w, audit.Options{
		Queue: 8, Registry: registry, Logger: slog.New(slog.NewTextHandler(told, nil)),
	})
	l.Record(audit.Event{Name: audit.Login, Outcome: audit.Success, Subject: "alice"})
	l.Record(audit.Event{Name: audit.Login, Outcome: audit.Success, Subject: "bob"})
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if got := w.String(); strings.Contains(got, "alice") || !strings.Contains(got, "bob") {
		t.Errorf("got %q", got)
	}
	if got := told.String(); !strings.Contains(got, "an event is lost") ||
		strings.Contains(got, "secret") {
		t.Errorf("told %q", got)
	}
	if n := counter(t, registry, "sallyport_audit_lost_total"); n != 1 {
		t.Errorf("%v lines are counted as lost", n)
	}
}
