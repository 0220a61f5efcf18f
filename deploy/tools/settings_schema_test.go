package tools

import (
	"bytes"
	"encoding/json"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"sigs.k8s.io/yaml"
)

// settingsSchema returns the schema that `sallyport schema` prints, compiled, and the settings at its
// top.
func settingsSchema(t *testing.T, of string) (*jsonschema.Schema, map[string]any) {
	t.Helper()
	bin, _ := programs(t)
	text, err := exec.CommandContext(t.Context(), filepath.Join(bin, "sallyport"), "schema", of).Output()
	if err != nil {
		t.Fatal(err)
	}
	document, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	c := jsonschema.NewCompiler()
	if err := c.AddResource("settings.json", document); err != nil {
		t.Fatal(err)
	}
	compiled, err := c.Compile("settings.json")
	if err != nil {
		t.Fatal(err)
	}
	return compiled, document.(map[string]any)["properties"].(map[string]any)
}

// decoded returns what YAML means, as JSON has it; nil for what is no YAML.
func decoded(text string) any {
	raw, err := yaml.YAMLToJSONStrict([]byte(text))
	if err != nil {
		return nil
	}
	value, err := jsonschema.UnmarshalJSON(bytes.NewReader(raw))
	if err != nil {
		return nil
	}
	return value
}

// blocks returns the indented blocks of a page, without their indent.
func blocks(page string) (all []string) {
	var block strings.Builder
	for line := range strings.Lines(page + "\n\n.") {
		if indented, ok := strings.CutPrefix(line, "    "); ok {
			block.WriteString(indented)
			continue
		}
		if block.Len() > 0 && strings.TrimSpace(line) != "" {
			all = append(all, block.String())
			block.Reset()
		}
	}
	return all
}

// TestSchemasTakeEveryExample: each file to start from, and each piece of configuration in the docs.
func TestSchemasTakeEveryExample(t *testing.T) {
	for of, row := range map[string]struct {
		files []string
		least int // pieces in the docs
	}{
		"authz": {[]string{
			"deploy/config/authz.yaml", "examples/policies/*.yaml", "examples/issuers/*.yaml",
		}, 8},
		"issuer": {[]string{"deploy/config/issuer.yaml", "examples/senders/*.yaml"}, 3},
	} {
		compiled, top := settingsSchema(t, of)
		texts := map[string]string{}
		for _, pattern := range row.files {
			found, err := filepath.Glob(filepath.Join(root, pattern))
			if err != nil || len(found) == 0 {
				t.Fatalf("%s: %d files, %v", pattern, len(found), err)
			}
			for _, file := range found {
				text, err := os.ReadFile(file)
				if err != nil {
					t.Fatal(err)
				}
				texts[file] = string(text)
			}
		}
		pages, err := filepath.Glob(filepath.Join(root, "docs/*.md"))
		if err != nil {
			t.Fatal(err)
		}
		pieces := 0
		for _, page := range pages {
			text, err := os.ReadFile(page)
			if err != nil {
				t.Fatal(err)
			}
			for _, block := range blocks(string(text)) {
				settings, ok := decoded(block).(map[string]any)
				if _, list := settings["users"].([]any); list {
					continue // the file of users
				}
				if !ok || len(settings) == 0 || settings["tests"] != nil ||
					slices.ContainsFunc(slices.Collect(maps.Keys(settings)), func(key string) bool {
						return top[key] == nil
					}) {
					continue // of another file
				}
				pieces++
				texts[page+":\n"+block] = block
			}
		}
		if pieces < row.least {
			t.Errorf("%s: found only %d pieces in the docs", of, pieces)
		}
		for name, text := range texts {
			if value := decoded(text); value == nil || compiled.Validate(value) != nil {
				t.Errorf("%s refuses %s: %v", of, name, compiled.Validate(value))
			}
		}
	}
}

// TestSchemasRefuseNamesThatThereAreNot, at the top and deep within, as the programs do.
func TestSchemasRefuseNamesThatThereAreNot(t *testing.T) {
	bin, _ := programs(t)
	for _, row := range []struct{ of, text string }{
		{"authz", "nothing: 1\n"},
		{"authz", "redis: {adress: x}\n"},
		{"authz", "policy: {routes: [{mach: {path: /x}}]}\n"},
		{"authz", "policy: {routes: [{match: {path: /x}, require: {anyOf: [{role: [a]}]}}]}\n"},
		{"authz", "issuers: [{issuer: x, audience: [a]}]\n"},
		{"authz", "issuers: [{issuer: x, claims: {role: [a]}}]\n"},
		{"authz", "admin: {token_fil: x}\n"},
		{"authz", "policy: {routes: {match: {path: /x}}}\n"}, // and a wrong type
		{"authz", "realm: 7\n"},
		{"authz", "cache: {entries: many}\n"},
		{"issuer", "nothing: 1\n"},
		{"issuer", "keys: {dirr: x}\n"},
		{"issuer", "other_issuers: [{issuers: x}]\n"},
	} {
		compiled, _ := settingsSchema(t, row.of)
		if err := compiled.Validate(decoded(row.text)); err == nil {
			t.Errorf("the schema of %s takes %s", row.of, row.text)
		}
		file := filepath.Join(t.TempDir(), row.of+".yaml")
		if err := os.WriteFile(file, []byte(row.text), 0o600); err != nil {
			t.Fatal(err)
		}
		out, err := exec.CommandContext(t.Context(), filepath.Join(bin, row.of), "check", "--config",
			file).CombinedOutput()
		if err == nil || !strings.Contains(string(out), file+":1:") {
			t.Errorf("%s check says of %s: %v %s", row.of, row.text, err, out)
		}
	}
}

// TestSchemasHaveTheSettingsUsage for the editor to show.
func TestSchemasHaveTheSettingsUsage(t *testing.T) {
	_, top := settingsSchema(t, "authz")
	text, err := json.Marshal(top["redis"])
	if err != nil || !strings.Contains(string(text), `"description":`) {
		t.Errorf("%v in %s", err, text)
	}
}
