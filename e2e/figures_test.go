package e2e_test

import (
	"bytes"
	"strconv"
	"strings"
	"testing"
)

// figures reads the series of one metric from a Prometheus page, by their names with labels.
func figures(t *testing.T, admin *caller, name string) map[string]float64 {
	t.Helper()
	found := map[string]float64{}
	for line := range bytes.Lines(admin.get(t, "/metrics").body) {
		series, value, ok := strings.Cut(strings.TrimSpace(string(line)), " ")
		if bare, _, _ := strings.Cut(series, "{"); !ok || bare != name {
			continue
		}
		figure, err := strconv.ParseFloat(value, 64)
		if err != nil {
			t.Fatal(err)
		}
		found[series] = figure
	}
	return found
}
