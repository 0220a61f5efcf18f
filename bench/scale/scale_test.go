package main

import (
	"os"
	"testing"
)

// TestEveryGateGetsEveryRevocation, with and without relays; never how soon.
func TestEveryGateGetsEveryRevocation(t *testing.T) {
	for name, relays := range map[string]int{"without relays": 0, "through two relays": 2} {
		t.Run(name, func(t *testing.T) {
			o := options{relays: relays, rate: 20, probes: 1, seconds: 1}
			// Short, for the paths of its sockets.
			dir, err := os.MkdirTemp("", "scale")
			if err != nil {
				t.Fatal(err)
			}
			defer os.RemoveAll(dir)
			if relays > 0 {
				if o.relay, err = buildRelay(t.Context(), dir); err != nil {
					t.Fatal(err)
				}
			}
			f, err := measure(t.Context(), o, 8, dir)
			if err != nil {
				t.Fatal(err)
			}
			if f.acked == 0 || f.delivered == 0 || f.beats == 0 || f.missing != 0 || f.storm == 0 {
				t.Errorf("got %+v", f)
			}
		})
	}
}
