package decisionlog

import (
	"encoding/json"
	"errors"
	"io"
	"reflect"
	"strings"
	"testing"
)

// FuzzALineIsOneOfASCIIAndReadAsItWasMeant, whatever a stranger puts into it.
func FuzzALineIsOneOfASCIIAndReadAsItWasMeant(f *testing.F) {
	f.Add("/orders/7?x=1", "shop", `{"a":["\u00e9"]}`, "blue")
	f.Add("/\x00\n\"\\\u202e\U0001f600\xff", "\u2028", `"`+strings.Repeat("x", 2000)+`"`, "\r\n")
	f.Add(strings.Repeat("\x01", 5000), strings.Repeat("\x02", 5000), `"eyJhbGciOiJub25lIn0.e30.c2ln"`, "")
	f.Fuzz(func(t *testing.T, path, host, claim, header string) {
		r := &Record{
			Event: Event, Time: noon(), ID: "id", Verdict: Refused, Status: 401, Reason: "expired",
			Token: "verified",
		}
		r.SetPath(path)
		r.Host, r.Method = r.Text("host", host), r.Text("method", host)
		r.RequestID, r.Peer = r.Text("request_id", header), r.Text("peer", path)
		if json.Valid([]byte(claim)) {
			r.AddClaim("c", claim, true)
		}
		r.AddClaim("none", "", false)
		r.AddHeader("x-team", header, true)
		line, err := r.line()
		if err != nil {
			t.Fatal(err)
		}
		text := string(line)
		if len(text) > maxLine || strings.Count(text, "\n") != 1 || !strings.HasSuffix(text, "\n") {
			t.Fatalf("%d bytes: %q", len(text), text)
		}
		if strings.Trim(text, "\n") != strings.Map(func(c rune) rune {
			if c < ' ' || c > '~' {
				return -1
			}
			return c
		}, text) {
			t.Fatalf("not ASCII: %q", text)
		}
		got, err := NewReader(strings.NewReader(text)).Next()
		if err != nil {
			t.Fatalf("%v in %q", err, text)
		}
		if got.Cut != nil && got.Cut[0] == "line" {
			return
		}
		// A claim is the same value, be it spelt with escapes.
		for _, record := range []*Record{got, r} {
			for name, value := range record.Claims {
				var v any
				if err := json.Unmarshal(value, &v); err != nil {
					t.Fatal(err)
				}
				record.Claims[name], _ = json.Marshal(v)
			}
		}
		if !reflect.DeepEqual(got, r) {
			t.Errorf("read %+v, written %+v", got, r)
		}
		// What a policy goes by stands in the line as it was, or it says that it does not.
		bare, _, _ := strings.Cut(path, "?")
		if cut := strings.Join(got.Cut, " ") + " "; got.Path != bare && !strings.Contains(cut, "path ") {
			t.Errorf("%q became %q, and nothing says so", bare, got.Path)
		}
	})
}

// TestWhatIsTooLongOrSecretIsLeftOutByName: half a claim would be another claim.
func TestWhatIsTooLongOrSecretIsLeftOutByName(t *testing.T) {
	const jws = "eyJhbGciOiJFUzI1NiJ9.eyJzdWIiOiJhIn0.c2lnbmF0dXJl"
	r := &Record{}
	r.SetPath("/download/" + jws)
	r.AddClaim("long", `"`+strings.Repeat("a", maxClaim)+`"`, true)
	r.AddClaim("inner", `{"token":"`+jws+`"}`, true)
	r.AddClaim("sub", `"alice"`, true)
	r.AddHeader("x-key", "Bearer secret-secret-secret", true)
	for range 10 {
		r.AddClaim("much", `"`+strings.Repeat("b", maxClaim-2)+`"`, true)
	}
	if want := []string{"path", "claims.long", "claims.inner", "headers.x-key"}; !reflect.DeepEqual(r.Cut[:4], want) {
		t.Errorf("cut are %v", r.Cut)
	}
	line, err := r.line()
	if err != nil || strings.Contains(string(line), "eyJ") || strings.Contains(string(line), "secret") ||
		!strings.Contains(string(line), "alice") {
		t.Errorf("%v, %s", err, line)
	}
	if len(r.Headers) != 0 || len(line) > 10<<10 {
		t.Errorf("got %d bytes, headers %v", len(line), r.Headers)
	}
}

// TestLinesAreReadStrictly, and those behind a bad one are read.
func TestLinesAreReadStrictly(t *testing.T) {
	const good = `{"event":"decision","time":"2030-01-02T12:00:00Z","id":"1","verdict":"allowed","status":200,` +
		`"method":"GET","host":"h","path":"/","token":"none","duration_us":1}`
	for line, want := range map[string]string{
		"{": "JSON object",
		strings.Replace(good, `"id":"1"`, `"id":"1","id":"2"`, 1): "twice",
		good + good: "JSON object",
		strings.Replace(good, `"id":"1"`, `"id":"1","more":true`, 1):           "unknown field",
		strings.Replace(good, `"event":"decision",`, "", 1):                    "expected event",
		strings.Replace(good, `"allowed"`, `"maybe"`, 1):                       "expected the verdict",
		strings.Replace(good, `"allowed"`, `"refused"`, 1):                     "with a reason",
		strings.Replace(good, `"GET"`, `7`, 1):                                 "fields of a decision",
		strings.Replace(good, `"GET"`, `"`+strings.Repeat("x", 20<<10)+`"`, 1): "at most 16384 bytes",
		strings.Repeat("[", 1000):                                              "JSON object",
	} {
		r := NewReader(strings.NewReader(line + "\n\n" + good + "\n" + `{"event":"deny"}` + "\n" + good))
		_, err := r.Next()
		var bad *LineError
		if !errors.As(err, &bad) || bad.Line != 1 || !strings.Contains(err.Error(), want) {
			t.Errorf("%.100s: got %v, want %s", line, err, want)
		}
		if record, err := r.Next(); err != nil || record.ID != "1" {
			t.Errorf("%.100s: behind it: %v, %v", line, record, err)
		}
		if _, err := r.Next(); !errors.As(err, &bad) || bad.Line != 5 || !strings.Contains(err.Error(), "line break") {
			t.Errorf("a line that is being written: %v", err)
		}
		if _, err := r.Next(); err != io.EOF || r.Others != 1 {
			t.Errorf("at the end: %v, %d of others", err, r.Others)
		}
	}
}

func TestTheTraceIsReadStrictly(t *testing.T) {
	const trace, span = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
	for traceparent, want := range map[string]string{
		"00-" + trace + "-" + span + "-01":                          trace,
		"00-" + trace + "-" + span + "-00":                          trace,
		"cc-" + trace + "-" + span + "-01-what-comes":               trace,
		"cc-" + trace + "-" + span + "-01":                          trace,
		"":                                                          "",
		"00-" + trace + "-" + span:                                  "",
		"00-" + trace + "-" + span + "-01-more":                     "",
		"cc-" + trace + "-" + span + "-01more":                      "",
		"ff-" + trace + "-" + span + "-01":                          "",
		"00-" + strings.ToUpper(trace) + "-" + span + "-01":         "",
		"00-" + strings.Repeat("0", 32) + "-" + span + "-01":        "",
		"00-" + trace + "-" + strings.Repeat("0", 16) + "-01":       "",
		"00-" + trace + "_" + span + "-01":                          "",
		"00-" + trace[:31] + "\n-" + span + "-01":                   "",
		"00-" + trace + "-" + span + "-01" + strings.Repeat(" ", 9): "",
	} {
		if got := TraceID(traceparent); got != want {
			t.Errorf("%q: got %q", traceparent, got)
		}
	}
}
