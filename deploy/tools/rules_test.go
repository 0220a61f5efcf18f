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

// Some files put names together: from a prefix, or from a namespace and a subsystem, and what they
// give to a function of theirs.
var (
	prefix    = regexp.MustCompile(`"(sallyport_[a-z]+_)"`)
	subsystem = regexp.MustCompile(`namespace, subsystem = "(\w+)", "(\w+)"`)
	given     = regexp.MustCompile(
		`(?:\b(?:gauge|counter|vec|describe)\(|Subsystem: subsystem, Name: )"([a-z_]+)"`,
	)
)

// metricsInCode returns the names of all metrics that the code registers.
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
	groups, errs := rulefmt.Parse([]byte(text), false, model.UTF8Validation,
		parser.NewParser(parser.Options{}), nil)
	for _, err := range errs {
		t.Error(err)
	}
	if groups == nil {
		t.Fatal("no rules")
	}
	page := readFile(t, "docs/alerts.md")
	count := 0
	for _, group := range groups.Groups {
		for _, rule := range group.Rules {
			count++
			if rule.Alert == "" || rule.Labels["severity"] == "" || rule.Annotations["summary"] == "" {
				t.Errorf("%s%s: expected an alert with a severity and a summary", rule.Alert, rule.Record)
			}
			want := "https://github.com/sallyport/sallyport/blob/main/docs/alerts.md#" + strings.ToLower(
				rule.Alert,
			)
			if got := rule.Annotations["runbook_url"]; got != want {
				t.Errorf("%s: runbook_url is %q, expected %s", rule.Alert, got, want)
			}
			if !strings.Contains(page, "\n## "+rule.Alert+"\n") {
				t.Errorf("%s: docs/alerts.md has no heading of that name", rule.Alert)
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
	for _, heading := range regexp.MustCompile(`(?m)^## (\w+)$`).FindAllStringSubmatch(page, -1) {
		if !strings.Contains(text, "alert: "+heading[1]+"\n") {
			t.Errorf("docs/alerts.md says what to do about %s, which is no alert", heading[1])
		}
	}
}

// TestEachAlertsSectionStandsAlone: who is woken up reads one section, and finds in it what is the
// matter, three commands to paste, why, and what to do; the table of metrics leads there.
func TestEachAlertsSectionStandsAlone(t *testing.T) {
	page := readFile(t, "docs/alerts.md")
	metrics := readFile(t, "docs/operations.md")
	for _, m := range regexp.MustCompile(`(?m)^## (\w+)$`).FindAllStringSubmatch(page, -1) {
		text := section(t, page, "## "+m[1])
		last := -1
		for _, part := range []string{"**Symptom.** ", "\n    ", "**Cause.** ", "**Cure.** "} {
			at := strings.Index(text, part)
			if at <= last {
				t.Errorf("%s has no %q, or not in its place", m[1], part)
			}
			last = at
		}
		command := regexp.MustCompile(`(?m)^    (docker|kubectl|curl|sallyport) `)
		if commands := command.FindAllString(text, -1); len(commands) != 3 {
			t.Errorf("%s has %d commands to paste, expected three", m[1], len(commands))
		}
		if !strings.Contains(metrics, "(alerts.md#"+strings.ToLower(m[1])+")") {
			t.Errorf("docs/operations.md leads nowhere to %s", m[1])
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
