package token_test

import (
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/sallyport/sallyport/internal/token"
)

var update = flag.Bool("update", false, "write docs/reasons.md anew")

const reasonsPage = "../../docs/reasons.md"

// TestEveryReasonIsDocumented: docs/reasons.md is what Reasons says, word for word.
func TestEveryReasonIsDocumented(t *testing.T) {
	want := reasonsMarkdown()
	if *update {
		if err := os.WriteFile(reasonsPage, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(reasonsPage)
	if err != nil {
		t.Fatal(err)
	}
	if string(got) != want {
		t.Errorf(
			"%s is not what token.Reasons says: run go test ./internal/token -run %s -update",
			reasonsPage, t.Name())
	}
}

func reasonsMarkdown() string {
	var b strings.Builder
	b.WriteString(`# Reasons

Every refusal of a gate names its reason: in the response header ` + "`x-sallyport-reason`" + `, in the audit line, and in the label
` + "`reason`" + ` of the gate's metrics. The list is fixed; the codes do not change. They are listed in the order in which a request
meets them. Two more with status 503 are the proxy's own words, for want of a gate's: ` + "`no_gate`" + ` when no gate could be reached, and
` + "`gate_late`" + ` when gates were there and none has answered in time, however often it was asked.

| reason | status | what happened | what to do |
|---|---|---|---|
`)
	for _, d := range token.Reasons() {
		fmt.Fprintf(&b, "| `%s` | %d | %s | %s |\n", d.Reason, d.Status, d.Meaning, d.Remedy)
	}
	b.WriteString("\nReserved, and given by no gate of this version:")
	for i, r := range token.Reserved() {
		b.WriteString([]string{" ", ", "}[min(i, 1)] + "`" + string(r) + "`")
	}
	b.WriteString(
		". Every other one is given by Envoy's check. In the metric `sallyport_gate_decisions_total` " +
			"each\nhas its series from the start, under the labels `code` and `reason`; nothing that a " +
			"caller sends becomes a label.\n",
	)
	return b.String()
}
