package e2e_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/sallyport/sallyport/authz"
	"github.com/sallyport/sallyport/internal/decisionlog"
	"github.com/sallyport/sallyport/internal/mesh"
	"github.com/sallyport/sallyport/internal/meshtest"
)

// collector receives Envoy's spans as Zipkin does.
type collector struct {
	*httptest.Server
	mu   sync.Mutex
	tags []map[string]string
}

func newCollector(t *testing.T) *collector {
	c := &collector{}
	c.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var spans []struct {
			Tags map[string]string `json:"tags"`
		}
		if err := json.NewDecoder(r.Body).Decode(&spans); err != nil {
			t.Errorf("a collector is sent %v", err)
		}
		c.mu.Lock()
		defer c.mu.Unlock()
		for _, s := range spans {
			c.tags = append(c.tags, s.Tags)
		}
		w.WriteHeader(http.StatusAccepted)
	}))
	t.Cleanup(c.Close)
	return c
}

// has reports whether a span has the decision's ID.
func (c *collector) has(id string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, tags := range c.tags {
		if tags["sallyport.decision"] == id {
			return true
		}
	}
	return false
}

// tracing has Envoy send spans there, with the ID of each decision.
func (c *collector) tracing() []meshtest.Change {
	host, port, _ := strings.Cut(strings.TrimPrefix(c.URL, "http://"), ":")
	const before = "                route_config:\n                  name: gateway\n"
	return []meshtest.Change{{Old: before, New: `                tracing:
                  provider:
                    name: envoy.tracers.zipkin
                    typed_config:
                      "@type": type.googleapis.com/envoy.config.trace.v3.ZipkinConfig
                      collector_cluster: collector
                      collector_endpoint: /api/v2/spans
                      collector_endpoint_version: HTTP_JSON
                  custom_tags: [{tag: sallyport.decision, value: "%RESP(x-sallyport-decision)%"}]
` + before}, {Old: "\n  clusters:\n", New: fmt.Sprintf(`
  clusters:
    - name: collector
      type: STATIC
      connect_timeout: 1s
      load_assignment:
        cluster_name: collector
        endpoints: [{lb_endpoints: [{endpoint: {address: {socket_address: {address: %s, port_value: %s}}}}]}]
`, host, port)}}
}

// TestADecisionIsFoundByItsID in the answer, in Envoy's access log and spans, in the audit log and in
// the decision log, and is decided anew by another policy; the gate beside Envoy and inside it.
func TestADecisionIsFoundByItsID(t *testing.T) {
	for _, within := range []bool{false, true} {
		t.Run(map[bool]string{false: "beside", true: "inside"}[within], func(t *testing.T) {
			spans, folder, config := newCollector(t), t.TempDir(), ""
			file := filepath.Join(folder, "decisions.jsonl")
			s := meshtest.Start(t, with(func(o *mesh.Options) {
				o.Rewrite = func(name, content string) string {
					if name == "authz.yaml" {
						config = content + "\ndecision_log: {enabled: true, file: " + file +
							", sample_allowed: 1, claims: [sub, roles, scope]}\n"
						return config
					}
					return content
				}
				if !within {
					meshtest.RunShipped(t, o, spans.tracing()...)
					return
				}
				o.Module = meshtest.Module(t)
				authz := o.Rewrite
				rewritten(t, spans.tracing()...)(o)
				envoy := o.Rewrite
				o.Rewrite = func(name, content string) string { return envoy(name, authz(name, content)) }
			}))
			c := newCaller(t, s.Endpoints().Gateway)
			bob := bearer(c.login(t, user(t, s, "bob")).Access)
			const trace = "0af7651916cd43dd8448eb211c80319c"
			forged := header(authz.HeaderDecision, "00000000000000000000000000000000")
			traceparent := header("traceparent", "00-"+trace+"-b7ad6b7169203331-01")
			answers := map[string]answer{
				"allowed":           c.get(t, "/protected?token=in-a-query", bob, forged, traceparent),
				"insufficient_role": c.get(t, "/admin", bob, traceparent),
				"no_token":          c.get(t, "/protected", header("cookie", "session=in-a-cookie")),
				"segments":          c.get(t, "/protected", bearer("not-a-token")),
			}
			if got := answers["allowed"].reached(t).Headers[authz.HeaderDecision]; got != "" {
				t.Errorf("the upstream got a client's own %s", got)
			}
			ids := map[string]string{}
			for reason, a := range answers {
				ids[reason] = a.header.Get(authz.HeaderDecision)
				if len(ids[reason]) != 32 || len(a.header.Values(authz.HeaderDecision)) != 1 {
					t.Errorf("%s: got %d, the ID %q", reason, a.status, a.header.Values(authz.HeaderDecision))
				}
			}
			records := map[string]*decisionlog.Record{}
			s.Eventually("each decision to have its line", func() bool {
				records = readDecisions(t, file)
				for _, id := range ids {
					if records[id] == nil {
						return false
					}
				}
				return true
			})
			for reason, id := range ids {
				r := records[id]
				if r.Reason != reason && (reason != "allowed" || r.Verdict != decisionlog.Allowed) {
					t.Errorf("%s: its line is %+v", reason, r)
				}
				if r.RequestID == "" {
					t.Errorf("%s: no request id: %+v", reason, r)
				}
				wantInFile(t, s, s.Child("envoy").LogFile(), `"decision":"`+id+`"`)
				s.Eventually("a span with the ID of "+reason, func() bool { return spans.has(id) })
				if reason != "allowed" {
					audit := "gate-1"
					if within {
						audit = "envoy"
					}
					wantInFile(t, s, s.Child(audit).LogFile(), `"decision_id":"`+id+`"`)
				}
			}
			refused := records[ids["insufficient_role"]]
			if refused.TraceID != trace || string(refused.Claims["sub"]) != `"bob"` || refused.Path != "/admin" {
				t.Errorf("got %+v", refused)
			}
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			for _, secret := range []string{"eyJ", "in-a-query", "in-a-cookie", "not-a-token"} {
				if strings.Contains(string(text), secret) {
					t.Errorf("the log has %s", secret)
				}
			}
			wantReplayed(t, folder, file, config, ids)
		})
	}
}

// wantReplayed has `sallyport replay` decide by policies that are stricter and laxer.
func wantReplayed(t *testing.T, folder, file, config string, ids map[string]string) {
	t.Helper()
	replay := func(changes ...meshtest.Change) (out string, status int) {
		changed := filepath.Join(folder, "new.yaml")
		text := config
		for _, c := range changes {
			text = replace(t, text, c.Old, c.New)
		}
		if err := os.WriteFile(changed, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		cmd := exec.Command(filepath.Join(meshtest.Binaries(t, true), "sallyport"), "replay", file,
			"--config", changed, "--json")
		cmd.Env = os.Environ()
		got, err := cmd.Output()
		var exit *exec.ExitError
		if err != nil && !errors.As(err, &exit) {
			t.Fatal(err)
		}
		if exit != nil && len(got) == 0 {
			t.Fatalf("replay: %s", exit.Stderr)
		}
		return string(got), cmd.ProcessState.ExitCode()
	}
	if out, status := replay(); status != 0 {
		t.Errorf("by the policy in force, replay says %d\n%s", status, out)
	}
	protected := func(require string) meshtest.Change {
		const route = "  - match: {path: /protected}\n    "
		return meshtest.Change{Old: route + "allow: authenticated\n", New: route + "require: " + require + "\n"}
	}
	out, status := replay(protected("{roles: [nobody-has]}"),
		meshtest.Change{Old: "require: {roles: [admin]}", New: "require: {roles: [user]}"})
	var result struct {
		Same, Allows, Refuses, Unknown int
		Changes                        []struct{ Kind, Was, Now, Example string }
	}
	if err := json.Unmarshal([]byte(out), &result); err != nil {
		t.Fatalf("%v in %s", err, out)
	}
	if status != 1 || result.Allows != 1 || result.Refuses != 1 || result.Unknown != 0 || len(result.Changes) != 2 {
		t.Fatalf("replay says %d\n%s", status, out)
	}
	for _, change := range result.Changes {
		want := ids[change.Was]
		if change.Example != want {
			t.Errorf("got %+v, want %s", change, want)
		}
	}
	if out, status = replay(protected("{acr: [gold]}")); status != 2 ||
		!strings.Contains(out, "decision_log: {claims: [acr]}") {
		t.Errorf("replay says %d\n%s", status, out)
	}
}

// readDecisions reads a decision log, as far as it is whole, by the IDs of its lines.
func readDecisions(t *testing.T, file string) map[string]*decisionlog.Record {
	t.Helper()
	f, err := os.Open(file)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	all := map[string]*decisionlog.Record{}
	lines := decisionlog.NewReader(f)
	for {
		r, err := lines.Next()
		if err == io.EOF {
			return all
		}
		if err != nil {
			t.Fatal(err)
		}
		all[r.ID] = r
	}
}

func wantInFile(t *testing.T, s *meshtest.Stack, file, text string) {
	t.Helper()
	s.Eventually(file+" to have "+text, func() bool {
		content, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		return strings.Contains(string(content), text)
	})
}
