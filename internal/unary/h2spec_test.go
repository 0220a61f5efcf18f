package unary_test

import (
	"net"
	"strconv"
	"testing"
	"time"

	"github.com/summerwind/h2spec/config"
	"github.com/summerwind/h2spec/hpack"
	"github.com/summerwind/h2spec/http2"
	"github.com/summerwind/h2spec/spec"
)

// passedOver are cases of h2spec 2.2.1 that do not hold, and why.
var passedOver = map[string]string{
	"http2/3.5/2": "the connection is closed, by a TCP reset, which h2spec takes for none",
	"http2/5.1.2/1": "h2spec's calls are no gRPC, and each is answered before the next has come: " +
		"TestCallsBeyondTheLimitAreRefused has some that stay",
	"http2/6.9.1/3":   "the stream has been answered before its windows come",
	"http2/8.1.2.6/1": "a POST that is no gRPC is answered before its body has come",
	"http2/8.1.2.6/2": "as before",
}

// TestHTTP2AsH2SpecHasIt runs h2spec's cases of RFC 7540 and 7541 against a server.
func TestHTTP2AsH2SpecHasIt(t *testing.T) {
	b := start(t)
	host, port, err := net.SplitHostPort(b.address)
	if err != nil {
		t.Fatal(err)
	}
	number, err := strconv.Atoi(port)
	if err != nil {
		t.Fatal(err)
	}
	c := &config.Config{
		Host: host, Port: number, Path: path, Timeout: 3 * time.Second, MaxHeaderLen: 4000,
	}
	passed := 0
	for _, group := range []*spec.TestGroup{http2.Spec(), hpack.Spec()} {
		group.Test(c)
		passed += judge(t, group)
	}
	if passed < 90 {
		t.Errorf("only %d cases have passed", passed)
	}
}

// judge returns how many cases have passed.
func judge(t *testing.T, group *spec.TestGroup) (passed int) {
	t.Helper()
	for n, test := range group.Tests {
		id := group.ID() + "/" + strconv.Itoa(n+1)
		why := passedOver[id]
		switch r := test.Result; {
		case r == nil || r.Skipped:
		case r.Failed && why == "":
			t.Errorf("%s: %s: %v", id, test.Desc, r.Error)
		case !r.Failed && why != "":
			t.Errorf("%s: %s: it does hold, take it out of the list", id, test.Desc)
		case !r.Failed:
			passed++
		}
	}
	for _, inner := range group.Groups {
		passed += judge(t, inner)
	}
	return passed
}
