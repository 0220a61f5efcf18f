package authz_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/sallyport/sallyport/authz"
	"github.com/sallyport/sallyport/authz/authztest"
	"github.com/sallyport/sallyport/internal/config"
	"github.com/sallyport/sallyport/internal/jose/josetest"
	"github.com/sallyport/sallyport/internal/policy"
)

const policyPage = "../docs/policy.md"

// TestThePageOnPoliciesSaysWhatIs: each policy on it loads, and each line of the tables below a
// policy is answered as it says.
func TestThePageOnPoliciesSaysWhatIs(t *testing.T) {
	text, err := os.ReadFile(policyPage)
	if err != nil {
		t.Fatal(err)
	}
	policies, asked := 0, 0
	var engine *authz.Engine
	var world *authztest.World
	var block, columns []string
	for line := range strings.Lines(string(text) + "\n") {
		line = strings.TrimRight(line, "\n")
		if indented, ok := strings.CutPrefix(line, "    "); ok &&
			(len(block) > 0 || indented == "policy:") {
			block = append(block, indented)
			continue
		}
		if len(block) > 0 {
			world, engine = pageEngine(t, strings.Join(block, "\n")+"\n")
			policies++
			block = nil
		}
		cells := strings.Split(strings.Trim(line, "|"), "|")
		switch {
		case !strings.HasPrefix(line, "|"):
			columns = nil
		case columns == nil:
			columns = cells
		case strings.TrimSpace(columns[0]) == "request" && !strings.HasPrefix(line, "|-"):
			row := map[string]string{}
			for i, column := range columns {
				row[strings.TrimSpace(column)] = strings.ReplaceAll(strings.TrimSpace(cells[i]), "`", "")
			}
			askAsThePageDoes(t, world, engine, row)
			asked++
		}
	}
	if policies < 2 || asked < 10 {
		t.Errorf("found %d policies and %d requests", policies, asked)
	}
}

// pageEngine is an engine with a policy of the page, which trusts Foreign's tokens alone.
func pageEngine(t *testing.T, yaml string) (*authztest.World, *authz.Engine) {
	t.Helper()
	var dst struct {
		Policy policy.Config `yaml:"policy"`
	}
	if err := config.Load(&dst, config.Options{File: policyPage, Content: []byte(yaml)}); err != nil {
		t.Fatalf("%v in\n%s", err, yaml)
	}
	w := authztest.New()
	profile := authztest.ForeignProfile()
	profile.RolePrefix = nil
	w.Keys.Trust(profile, w.ForeignKey.Public())
	var err error
	if w.Policy, err = policy.Compile(dst.Policy); err != nil {
		t.Fatal(err)
	}
	return w, w.Engine(nil)
}

func askAsThePageDoes(t *testing.T, w *authztest.World, engine *authz.Engine,
	row map[string]string) {
	t.Helper()
	r := pageRequest(t, w, row)
	d := engine.Decide(&r)
	got := "200"
	if !d.Allow {
		refused := d.Refused()
		got = fmt.Sprintf("%d %s", refused.Status, refused.Reason)
	}
	if told, ok := row["upstream"]; ok && d.Allow {
		var lines []string
		for _, h := range d.Identity.Set {
			if !slices.Contains(authz.IdentityHeaders(), h.Name) {
				lines = append(lines, h.Name+": "+h.Value)
			}
		}
		if slices.Sort(lines); strings.Join(lines, "; ") != told {
			t.Errorf("%s: the page says that the upstream is told %s, got %v", row["request"], told, lines)
		}
	}
	if got != row["answer"] {
		t.Errorf("%s with %s: the page says %s, got %s (%s)", row["request"], row["token"],
			row["answer"], got, d.Detail())
	}
}

// pageRequest makes the request of a row: its URL, and a token with the claims that it names.
func pageRequest(t *testing.T, w *authztest.World, row map[string]string) authz.Request {
	t.Helper()
	method, target, _ := strings.Cut(row["request"], " ")
	host := authztest.Host
	if rest, ok := strings.CutPrefix(target, "https://"); ok {
		name, path, _ := strings.Cut(rest, "/")
		host, target = name, "/"+path
	}
	r := authztest.At(host, authztest.Do(method, target))
	r.Peer = row["peer"]
	good := pageToken(t, w, "{}") // what TOKEN stands for outside of the column
	r.Path = strings.ReplaceAll(r.Path, "TOKEN", good)
	if name, value, ok := strings.Cut(row["header"], ": "); ok {
		value = strings.ReplaceAll(value, "TOKEN", good)
		r.Headers = append(r.Headers, authz.Header{Name: name, Value: value})
	}
	if row["asks for"] != "" {
		r.Headers = append(r.Headers,
			authz.Header{Name: "access-control-request-method", Value: row["asks for"]})
	}
	if row["token"] != "none" {
		r.Headers = append(r.Headers,
			authz.Header{Name: "authorization", Value: "Bearer " + pageToken(t, w, row["token"])})
	}
	return r
}

func pageToken(t *testing.T, w *authztest.World, claims string) string {
	t.Helper()
	var more map[string]json.RawMessage
	if err := json.Unmarshal([]byte(claims), &more); err != nil {
		t.Fatalf("%s: %v", claims, err)
	}
	all := w.ForeignClaims()
	for _, name := range slices.Sorted(maps.Keys(more)) {
		all = all.And(name, pageDate(t, w, string(more[name])))
	}
	return w.ForeignKey.Token(w.ForeignKey.Header("JWT").JSON(), all.JSON())
}

// pageDate puts a date in the place of one that the page tells by its age: "5m ago".
func pageDate(t *testing.T, w *authztest.World, raw string) string {
	t.Helper()
	age, ok := strings.CutSuffix(strings.Trim(raw, `"`), " ago")
	if !ok {
		return raw
	}
	ago, err := time.ParseDuration(age)
	if err != nil {
		t.Fatal(err)
	}
	return josetest.Seconds(w.Now.Add(-ago))
}
