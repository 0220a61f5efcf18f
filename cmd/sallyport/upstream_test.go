package main

import (
	"context"
	"net"
	"testing"
	"time"
)

// TestUpstreamAnswersUntilItIsStopped, and its own check says which of the two it is.
func TestUpstreamAnswersUntilItIsStopped(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- serveUpstream(ctx, l) }()
	if err := checkUpstream(t.Context(), l.Addr().String()); err != nil {
		t.Error(err)
	}
	stop()
	select {
	case err := <-ended:
		if err != nil {
			t.Errorf("it ended with %v", err)
		}
	case <-time.After(10 * time.Second):
		t.Fatal("it did not end")
	}
	if checkUpstream(t.Context(), l.Addr().String()) == nil {
		t.Error("the check finds an upstream that has been stopped")
	}
}
