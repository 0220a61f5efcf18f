package tools

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	openapi_v2 "github.com/google/gnostic-models/openapiv2"
	"google.golang.org/protobuf/proto"
	"k8s.io/kube-openapi/pkg/validation/spec"
	"sigs.k8s.io/kustomize/kyaml/openapi/kubernetesapi"
)

// oldest is the Kubernetes release whose API the schemas describe: the one that kustomize carries.
// Whatever is valid there and decodes into the types of the newest release is valid in all between.
const oldest = "v1.21.2"

// schemas writes JSON schemas for kubeconform into a folder, from the API description that is
// compiled into kustomize, since the ones it would fetch by itself need the internet. The answer is
// the location to give to kubeconform.
func schemas(t *testing.T) string {
	t.Helper()
	document := new(openapi_v2.Document)
	asset := "kubernetesapi/" + strings.ReplaceAll(oldest, ".", "_") + "/swagger.pb"
	if err := proto.Unmarshal(kubernetesapi.OpenAPIMustAsset[oldest](asset), document); err != nil {
		t.Fatal(err)
	}
	var swagger spec.Swagger
	if _, err := swagger.FromGnostic(document); err != nil {
		t.Fatal(err)
	}
	definitions := map[string]any{}
	for name, definition := range swagger.Definitions {
		encoded, err := json.Marshal(definition)
		if err != nil {
			t.Fatal(err)
		}
		var schema map[string]any
		if err := json.Unmarshal(encoded, &schema); err != nil {
			t.Fatal(err)
		}
		definitions[name] = closed(schema)
	}
	dir := t.TempDir()
	for name, definition := range swagger.Definitions {
		kinds, _ := definition.Extensions["x-kubernetes-group-version-kind"].([]any)
		for _, kind := range kinds {
			gvk, ok := kind.(map[string]any)
			if !ok {
				t.Fatalf("%s: its kind is a %T", name, kind)
			}
			writeSchema(t, dir, gvk, name, definitions)
		}
	}
	return filepath.Join(dir, "{{.ResourceKind}}{{.KindSuffix}}.json")
}

// writeSchema writes the schema of one kind under the name by which kubeconform looks for it.
func writeSchema(t *testing.T, dir string, gvk map[string]any, definition string,
	definitions map[string]any) {
	t.Helper()
	wanted := map[string]bool{
		"Namespace": true, "ServiceAccount": true, "ConfigMap": true, "Secret": true,
		"Service": true, "Deployment": true, "StatefulSet": true, "PodDisruptionBudget": true,
		"NetworkPolicy": true, "PersistentVolumeClaim": true,
	}
	kind, group, version := fmt.Sprint(gvk["kind"]), fmt.Sprint(gvk["group"]), fmt.Sprint(
		gvk["version"])
	if !wanted[kind] {
		return
	}
	name := strings.ToLower(kind)
	if group != "" {
		name += "-" + strings.Split(group, ".")[0]
	}
	encoded, err := json.Marshal(
		map[string]any{"$ref": "#/definitions/" + definition, "definitions": definitions})
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, name+"-"+version+".json"), encoded, 0o600); err != nil {
		t.Fatal(err)
	}
}

// closed makes a schema of the API description one for JSON Schema: what an object does not name,
// it may not have, and what Kubernetes takes as a number or a string may be either.
func closed(schema map[string]any) map[string]any {
	if format := schema["format"]; format == "int-or-string" {
		return map[string]any{"type": []string{"string", "integer"}}
	}
	if description, _ := schema["description"].(string); strings.HasPrefix(description,
		"Quantity is a fixed-point representation") {
		return map[string]any{"type": []string{"string", "number"}}
	}
	if properties, ok := schema["properties"].(map[string]any); ok {
		for name, property := range properties {
			if p, ok := property.(map[string]any); ok {
				properties[name] = closed(p)
			}
		}
		if _, ok := schema["additionalProperties"]; !ok {
			schema["additionalProperties"] = false
		}
	}
	for _, key := range []string{"items", "additionalProperties"} {
		if inner, ok := schema[key].(map[string]any); ok {
			schema[key] = closed(inner)
		}
	}
	return schema
}
