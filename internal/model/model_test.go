package model

import (
	"flag"
	"fmt"
	"testing"
)

var (
	nodes   = flag.Int("nodes", 1, "")
	issuers = flag.Int("issuers", 1, "")
	faults  = flag.Int("faults", 1, "")
	reqs    = flag.Int("reqs", 1, "")
	minr    = flag.Int("minr", -1, "")
	gates   = flag.Int("gates", 1, "")
	split   = flag.Bool("split", false, "")
	keep    = flag.Bool("keep", false, "")
	most    = flag.Int("most", 3000000, "")
)

func TestTry(t *testing.T) {
	l := Small(*nodes, *issuers, *faults)
	l.MaxStates = *most
	l.Requests, l.Gates = *reqs, *gates
	l.Split = *split
	l.KeepUnmet = *keep
	if *minr >= 0 {
		l.MinReplicas = *minr
	}
	l.Progress = func(d, n, m, p, q int) {
		if d%5 == 0 {
			fmt.Println(d, n, m, p, q)
		}
	}
	r, err := Explore(l, Unmutated)
	t.Log(r.String())
	if err != nil {
		t.Error(err)
	}
	if r.Violation != nil {
		t.Error(r.Violation)
	}
}
