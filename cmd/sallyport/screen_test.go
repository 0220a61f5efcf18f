package main

import (
	"bytes"
	"strings"
	"testing"

	"github.com/sallyport/sallyport/internal/eventually"
)

func TestWhatTakesLongSaysWhatItDoesAndWhatIsQuickSaysNothing(t *testing.T) {
	var out eventually.Buffer
	s := newScreen(&out)
	s.progress("making keys")
	s.progress("starting Envoy")
	eventually.True(t, "a word of what takes long", func() bool {
		return strings.Contains(out.String(), "starting Envoy ...")
	})
	s.done()
	if got := out.String(); got != "starting Envoy ...\n" {
		t.Errorf("printed %q", got)
	}
}

func TestATerminalsLineIsOverwritten(t *testing.T) {
	var out eventually.Buffer
	s := newScreen(&out)
	s.terminal = true
	s.progress("making keys")
	s.print("done")
	if got := out.String(); got != "\r\x1b[Kmaking keys ...\r\x1b[Kdone\n" {
		t.Errorf("printed %q", got)
	}
}

func TestOnlyATerminalGetsColours(t *testing.T) {
	s := newScreen(&bytes.Buffer{})
	if got := s.bold("a") + s.red("b") + s.green("c") + s.dim("d"); got != "abcd" {
		t.Errorf("got %q", got)
	}
	s.colour = true
	if got := s.green("c"); got != "\x1b[32mc\x1b[0m" {
		t.Errorf("got %q", got)
	}
}

func TestABentTokenDiffersInOneBit(t *testing.T) {
	const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
	for _, last := range []string{"A", "Q", "g", "w"} {
		bent := bend("token" + last)
		was, is := strings.Index(alphabet, last), strings.Index(alphabet, bent[len(bent)-1:])
		if changed := was ^ is; changed&(changed-1) != 0 || changed == 0 || bent[:5] != "token" {
			t.Errorf("%s became %s", last, bent)
		}
		if changed := was ^ is; changed != 16 && changed != 32 {
			t.Errorf("%s became %s: that bit carries nothing", last, bent)
		}
	}
}
