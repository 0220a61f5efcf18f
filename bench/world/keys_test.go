package world

import (
	"strings"
	"testing"
)

// withKeys is a world that has nothing but its keys.
func withKeys(t *testing.T) *World {
	t.Helper()
	k, err := serveKeys()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := k.close(); err != nil {
			t.Error(err)
		}
	})
	return &World{keys: k}
}

// TestAForgedTokenDiffersFromAnHonestOneInOneBit, and in its spelling in nothing: it is refused for
// its signature, or for nothing.
func TestAForgedTokenDiffersFromAnHonestOneInOneBit(t *testing.T) {
	w := withKeys(t)
	honest, err := w.Token(ofForged)
	if err != nil {
		t.Fatal(err)
	}
	forged, err := OneBitOff(honest)
	if err != nil {
		t.Fatal(err)
	}
	at := strings.LastIndexByte(honest, '.')
	if len(forged) != len(honest) || forged[:at] != honest[:at] {
		t.Errorf("more differs than the signature:\n%s\n%s", honest, forged)
	}
	differ := 0
	for i := range honest {
		if honest[i] != forged[i] {
			differ++
		}
	}
	if differ != 1 {
		t.Errorf("%d letters differ, want 1", differ)
	}
}

// TestAKeyIsUnknownUntilItIsPublished, so that a gate that meets it has to fetch it.
func TestAKeyIsUnknownUntilItIsPublished(t *testing.T) {
	w := withKeys(t)
	for _, want := range []int{1, 1, 2} {
		set, err := w.keys.set()
		if err != nil {
			t.Fatal(err)
		}
		if keys := strings.Count(string(set), `"kid"`); keys != want {
			t.Errorf("%d keys are published, want %d", keys, want)
		}
		if len(w.keys.private) == 2 {
			w.Publish()
		} else if err := w.Rotate(); err != nil {
			t.Fatal(err)
		}
	}
}
