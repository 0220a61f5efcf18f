package gate_test

import (
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/sallyport/sallyport/authz"
	"github.com/sallyport/sallyport/authz/extauthz"
	"github.com/sallyport/sallyport/authz/filter"
	"github.com/sallyport/sallyport/authz/gate"
	"github.com/sallyport/sallyport/internal/decisionlog"
)

// TestAGateThatEndsHasWrittenItsDecisions, to its file or to standard output, beside audit lines.
func TestAGateThatEndsHasWrittenItsDecisions(t *testing.T) {
	file := filepath.Join(t.TempDir(), "decisions.jsonl")
	for _, setting := range []string{"file: " + file + ", ", ""} {
		c, _, err := load(t, goodConfig+"decision_log: {"+setting+"enabled: true, sample_allowed: 1, claims: [sub]}\n", nil)
		if err != nil {
			t.Fatal(err)
		}
		var stdout bytes.Buffer
		g, err := gate.New(c, gate.Options{Audit: &stdout, Host: host{}})
		if err != nil {
			t.Fatal(err)
		}
		for _, path := range []string{"/public", "/protected"} {
			g.Filter().Request(filter.Stream{}, []authz.Header{
				{Name: ":method", Value: "GET"}, {Name: ":path", Value: path}, {Name: ":authority", Value: "h"},
			}, filter.Origin{}, make([]byte, 0, 64<<10), nil)
		}
		if err := g.Close(); err != nil {
			t.Fatal(err)
		}
		text := stdout.String()
		if setting != "" {
			content, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			text = string(content)
		}
		lines, verdicts := decisionlog.NewReader(strings.NewReader(text)), ""
		for {
			r, err := lines.Next()
			if err == io.EOF {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
			verdicts += r.Path + " " + r.Verdict + r.Reason + "\n"
		}
		if verdicts != "/public allowed\n/protected refusedno_token\n" {
			t.Errorf("{%s}: logged\n%s", setting, verdicts)
		}
		if !strings.Contains(stdout.String(), `"event":"deny"`) {
			t.Error("the refusal has no audit line")
		}
	}
}

// TestCheckSaysWhatKeepsTheDecisionLogFromBeingWritten, and writes nothing.
func TestCheckSaysWhatKeepsTheDecisionLogFromBeingWritten(t *testing.T) {
	dir := t.TempDir()
	for file, want := range map[string]string{
		filepath.Join(dir, "new.jsonl"):      "",
		filepath.Join(dir, "no", "log.json"): "decision_log.file",
		dir:                                  "decision_log.file",
	} {
		c, _, err := load(t, goodConfig+"decision_log: {enabled: true, file: "+file+"}\n", nil, "--listen", freeAddress(t))
		if err != nil {
			t.Fatal(err)
		}
		_, err = gate.Check(t.Context(), c, gate.Options{Audit: io.Discard, Transport: extauthz.GRPC})
		if got := err != nil && strings.Contains(err.Error(), "decision_log.file"); got != (want != "") {
			t.Errorf("%s: %v", file, err)
		}
		if _, err := os.Stat(file); file != dir && !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%s: a check has written it: %v", file, err)
		}
	}
	_, _, err := load(t, goodConfig+"decision_log: {enabled: true, headers: [cookie]}\n", nil)
	if err == nil || !strings.Contains(err.Error(), "cookie carries secrets") ||
		!strings.Contains(err.Error(), "authz.yaml:") {
		t.Errorf("a secret header: %v", err)
	}
}
