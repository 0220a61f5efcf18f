package config_test

import (
	"encoding/json"
	"testing"

	"github.com/sallyport/sallyport/internal/config"
)

// nested is in a list of itself, as alternatives of a rule are.
type nested struct {
	Name string   `yaml:"name" usage:"what it is called"`
	Some []nested `yaml:"some"`
}

// TestASchemaHasEachSettingWithItsUsageAndDefault, and takes no other.
func TestASchemaHasEachSettingWithItsUsageAndDefault(t *testing.T) {
	dst := struct {
		Level  string        `yaml:"level" usage:"how much"`
		Count  int           `yaml:"count"`
		Secret config.Secret `yaml:"secret"`
		Any    config.Value  `yaml:"any"`
		List   []nested      `yaml:"list"`
	}{Level: "info", Count: 7, Secret: config.NewSecret("hush")}
	text, err := config.Schema(&dst, "x.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var got struct {
		Properties map[string]json.RawMessage `json:"properties"`
		Additional bool                       `json:"additionalProperties"`
		Records    map[string]json.RawMessage `json:"$defs"`
	}
	if err := json.Unmarshal(text, &got); err != nil || got.Additional {
		t.Fatalf("%v in %s", err, text)
	}
	for name, want := range map[string]string{
		"level":       `{"default":"info","description":"how much","type":["string"]}`,
		"count":       `{"default":7,"type":["integer"]}`,
		"secret":      `{"type":["string"]}`,
		"secret_file": `{"description":"the file that holds secret","type":"string"}`,
		"any":         `{}`,
		"list":        `{"items":{"$ref":"#/$defs/config_test_nested"},"type":"array"}`,
	} {
		var value any
		if err := json.Unmarshal(got.Properties[name], &value); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if compact, err := json.Marshal(value); err != nil || string(compact) != want {
			t.Errorf("%s: got %s, want %s", name, compact, want)
		}
	}
	if len(got.Properties) != 6 || len(got.Records) != 1 {
		t.Errorf("got %s", text)
	}
}
