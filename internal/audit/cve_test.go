package audit_test

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/sallyport/sallyport/internal/audit"
)

// The rows of advisories that concern audit lines.
func TestCVE(t *testing.T) {
	t.Run("CVE-2024-8365", func(t *testing.T) { // tokens in the audit log
		line := lines(t, audit.Event{
			Name:      audit.Login,
			Subject:   accessToken,
			SessionID: refreshToken,
			TokenID:   accessToken,
			UserAgent: "Bearer " + accessToken,
			Path:      "/x/" + accessToken,
			RequestID: refreshToken,
			Value:     accessToken,
			Reason:    "got " + accessToken,
			Host:      refreshToken,
			Actor:     strings.Repeat("a", 250) + " " + refreshToken,
			ClientID:  strings.Repeat("a", 240) + " " + accessToken,
		})
		for _, part := range []string{"Y2FuYXJ5", "eyJ"} {
			if strings.Contains(line, part) {
				t.Errorf("the line holds %s: %s", part, line)
			}
		}
	})
	t.Run("CVE-2025-25294", func(t *testing.T) { // line injection
		for _, text := range hostile {
			checkLine(t, text)
		}
	})
	t.Run("CVE-2022-21698", func(t *testing.T) { // callers that grow the number of series
		registry := prometheus.NewRegistry()
		l := audit.New(&bytes.Buffer{}, audit.Options{Now: clock, Registry: registry})
		for i := range 10_000 {
			l.Record(
				audit.Event{
					Name: audit.Name(fmt.Sprint("n", i)), Outcome: "x",
					Method: fmt.Sprint("M", i), Issuer: fmt.Sprint(i), KeyID: fmt.Sprint(i),
				},
			)
		}
		if n, err := testutil.GatherAndCount(registry); err != nil || n != 2 {
			t.Errorf("%d series, %v", n, err)
		}
	})
}
