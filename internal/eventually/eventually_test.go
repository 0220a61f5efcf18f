package eventually_test

import (
	"runtime"
	"testing"
	"time"

	"github.com/sallyport/sallyport/internal/eventually"
)

func TestItReturnsOnceTheConditionIsTrue(t *testing.T) {
	asked := 0
	eventually.True(t, "three questions", func() bool { asked++; return asked == 3 })
	if asked != 3 {
		t.Errorf("the condition was asked %d times", asked)
	}
}

// failing is a test that notes its failure; ending it ends the goroutine, as a real one's does.
type failing struct {
	testing.TB
	said chan string
}

func (f failing) Helper() {}

func (f failing) Fatalf(format string, _ ...any) {
	f.said <- format
	runtime.Goexit()
}

func TestItFailsWhenTheConditionIsNeverTrue(t *testing.T) {
	f := failing{t, make(chan string, 1)}
	go eventually.Within(f, time.Millisecond, "what never comes", func() bool { return false })
	if said := <-f.said; said == "" {
		t.Error("it failed without a word")
	}
}
