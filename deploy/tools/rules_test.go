package tools

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/rulefmt"
	"github.com/prometheus/prometheus/promql/parser"
)

// ourMetric is a metric's name. Histograms are stored as three.
var ourMetric = regexp.MustCompile(`\bsallyport_[a-z0-9_]+`)

// Some files put names together: from a prefix, or from a namespace and a subsystem, and what they give to a function of theirs.
var (
	prefix    = regexp.MustCompile(`"(sallyport_[a-z]+_)"`)
	subsystem = regexp.MustCompile(`namespace, subsystem = "(\w+)", "(\w+)"`)
	given     = regexp.MustCompile(`(?:\b(?:gauge|counter|vec|describe)\(|Subsystem: subsystem, Name: )"([a-z_]+)"`)
)

// metricsInCode gives the names of all metrics that the code registers.
func metricsInCode(t *testing.T) map[string]bool {
	t.Helper()
	names := map[string]bool{}
	quoted := regexp.MustCompile(`"(sallyport_[a-z0-9_]*[a-z0-9])"`)
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			if name := d.Name(); name == "tools" || name == ".tools" || name == ".git" || name == "bench" {
				return filepath.SkipDir
			}
			return nil
		}
		if !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return nil
		}
		source, err := os.ReadFile(path)
		start := ""
		if m := prefix.FindSubmatch(source); m != nil {
			start = string(m[1])
		} else if m := subsystem.FindSubmatch(source); m != nil {
			start = string(m[1]) + "_" + string(m[2]) + "_"
		}
		if start != "" {
			for _, m := range given.FindAllSubmatch(source, -1) {
				names[start+string(m[1])] = true
			}
		}
		for _, m := range quoted.FindAllSubmatch(source, -1) {
			names[string(m[1])] = true
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(names) < 15 {
		t.Fatalf("found only %d metrics in the code: the search does not see what it should", len(names))
	}
	return names
}

// base takes off what a histogram adds to its name.
func base(name string, known map[string]bool) string {
	for _, suffix := range []string{"_bucket", "_count", "_sum"} {
		if stem, ok := strings.CutSuffix(name, suffix); ok && known[stem] {
			return stem
		}
	}
	return name
}

// TestAlertsAreRulesThatPrometheusTakes, speak of metrics that exist, and of what to do.
func TestAlertsAreRulesThatPrometheusTakes(t *testing.T) {
	known := metricsInCode(t)
	text := readFile(t, "examples/alerts.yaml")
	groups, errs := rulefmt.Parse([]byte(text), false, model.UTF8Validation, parser.NewParser(parser.Options{}), nil)
	for _, err := range errs {
		t.Error(err)
	}
	if groups == nil {
		t.Fatal("no rules")
	}
	operations := readFile(t, "docs/operations.md")
	count := 0
	for _, group := range groups.Groups {
		for _, rule := range group.Rules {
			count++
			if rule.Alert == "" || rule.Labels["severity"] == "" || rule.Annotations["summary"] == "" {
				t.Errorf("%s%s: expected an alert with a severity and a summary", rule.Alert, rule.Record)
			}
			if !strings.Contains(rule.Annotations["do"], "docs/operations.md#"+strings.ToLower(rule.Alert)) {
				t.Errorf("%s: its annotation `do` does not lead to docs/operations.md#%s", rule.Alert, strings.ToLower(rule.Alert))
			}
			if !strings.Contains(operations, "\n#### "+rule.Alert+"\n") {
				t.Errorf("%s: docs/operations.md has no heading of that name", rule.Alert)
			}
			used := ourMetric.FindAllString(rule.Expr, -1)
			for _, name := range used {
				if !known[base(name, known)] {
					t.Errorf("%s speaks of %s, which the code does not have", rule.Alert, name)
				}
			}
		}
	}
	if count < 8 {
		t.Errorf("only %d alerts", count)
	}
	for _, heading := range regexp.MustCompile(`(?m)^#### (\w+)$`).FindAllStringSubmatch(operations, -1) {
		if !strings.Contains(text, "alert: "+heading[1]+"\n") {
			t.Errorf("docs/operations.md says what to do about %s, which is no alert", heading[1])
		}
	}
}

// TestEveryMetricIsDocumented, and nothing is that does not exist.
func TestEveryMetricIsDocumented(t *testing.T) {
	known := metricsInCode(t)
	documented := map[string]bool{}
	for _, name := range ourMetric.FindAllString(readFile(t, "docs/operations.md"), -1) {
		documented[base(name, known)] = true
	}
	for name := range known {
		if !documented[name] {
			t.Errorf("docs/operations.md lacks %s", name)
		}
	}
	for name := range documented {
		if !known[name] {
			t.Errorf("docs/operations.md speaks of %s, which the code does not have", name)
		}
	}
}
