//go:build model

package liveset_test

import (
	"fmt"
	"testing"

	"github.com/sallyport/sallyport/internal/revocation"
)

// TestACloneGoesItsOwnWay: it has the same state, and what becomes of one does not touch the other.
func TestACloneGoesItsOwnWay(t *testing.T) {
	s := newSet(2)
	for n := range 60 {
		s.Add(entry(revocation.KindJTI, fmt.Sprint(n)))
	}
	c := s.Clone()
	state := string(s.AppendState(nil))
	if string(c.AppendState(nil)) != state {
		t.Fatal("a clone has another state")
	}
	c.Sweep((at+4000)*1000, c.Shards())
	if c.Live(revocation.KindJTI) != 0 || s.Live(revocation.KindJTI) != 60 {
		t.Errorf("%d left in the swept clone, %d in the original",
			c.Live(revocation.KindJTI), s.Live(revocation.KindJTI))
	}
	if string(s.AppendState(nil)) != state || string(c.AppendState(nil)) == state {
		t.Error("original and clone share what changes")
	}
}
