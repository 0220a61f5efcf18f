package policy

import (
	"reflect"
	"testing"
	"time"

	"github.com/sallyport/sallyport/internal/policy/condition"
)

// TestNothingThatADemandAsksForIsLeftOut where it is explained.
func TestNothingThatADemandAsksForIsLeftOut(t *testing.T) {
	when, err := condition.Compile("true", nil)
	if err != nil {
		t.Fatal(err)
	}
	d := Demand{
		Roles: []string{"a"}, Scopes: []string{"a"}, Issuers: []string{"a"}, Audiences: []string{"a"},
		ACR: []string{"a"}, Fresh: time.Minute, When: when, enough: []string{"a"},
	}
	told := map[string]bool{}
	for _, part := range d.parts() {
		v := reflect.ValueOf(*part.Demand)
		for i := range v.NumField() {
			told[v.Type().Field(i).Name] = told[v.Type().Field(i).Name] || !v.Field(i).IsZero()
		}
	}
	for f := range reflect.TypeFor[Demand]().Fields() {
		if f.IsExported() && !told[f.Name] {
			t.Errorf("%s is not told of", f.Name)
		}
	}
}
