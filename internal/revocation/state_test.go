//go:build model

package revocation_test

import (
	"testing"

	"github.com/sallyport/sallyport/internal/revocation"
)

// TestCloneBehavesTheSame: a clone has the same state and goes its own way.
func TestCloneBehavesTheSame(t *testing.T) {
	b := newBench(t).settled()
	set := b.set.Clone()
	c := b.c.Clone(set)
	if string(c.AppendState(nil)) != string(b.c.AppendState(nil)) {
		t.Fatal("a clone has another state")
	}
	state := string(c.AppendState(nil))
	b.add("x")
	b.beat()
	b.read()
	if string(b.c.AppendState(nil)) == state {
		t.Error("applying an entry left the state as it was")
	}
	if string(c.AppendState(nil)) != state ||
		set.Check(&revocation.Facts{Issuer: iss, SessionID: "x"}).Revoked {
		t.Error("the original changed its clone")
	}
}

// TestWriterClone: a clone has the same state and goes its own way.
func TestWriterClone(t *testing.T) {
	d := newDesk(t)
	d.store(d.begin(request(revocation.KindSID, "a")))
	d.read()
	d.w.Failed(d.begin(request(revocation.KindSID, "b")))
	c := d.w.Clone(d.set.Clone())
	state := string(c.AppendState(nil))
	if state != string(d.w.AppendState(nil)) {
		t.Fatal("a clone has another state")
	}
	d.begin(request(revocation.KindSID, "c"))
	mend, _ := d.w.Mend(d.instant(), 10)
	d.store(mend)
	d.read()
	if string(d.w.AppendState(nil)) == state || string(c.AppendState(nil)) != state {
		t.Error("original and clone share what changes")
	}
}
