package e2e_test

import (
	"context"
	"net/http"
	"slices"
	"sync"
	"testing"
	"time"

	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/sallyport/sallyport/internal/meshtest"
)

// logouts is how many sessions are ended, one after another.
const logouts = 1000

// TestLogoutIsInForceAtEveryGate (S1): from a logout's answer until three gates refuse the token. The gates are asked past
// Envoy, so that each one answers for itself.
func TestLogoutIsInForceAtEveryGate(t *testing.T) {
	const maxStaleness = 10 * time.Second
	s := meshtest.Start(t, meshtest.Options{Gates: 3})
	c := newCaller(t, s.Endpoints().Gateway)
	gates := make([]authv3.AuthorizationClient, 0, 3)
	for _, g := range s.Endpoints().Gates {
		conn, err := grpc.NewClient(g.GRPC, grpc.WithTransportCredentials(insecure.NewCredentials()))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = conn.Close() })
		gates = append(gates, authv3.NewAuthorizationClient(conn))
	}

	bob := user(t, s, "bob")
	took := make([]time.Duration, 0, logouts)
	session := c.login(t, bob)
	for range logouts {
		for i, gate := range gates {
			if status := check(t, gate, session.Access); status != http.StatusOK {
				t.Fatalf("gate %d refuses a valid token with %d (S8)", i+1, status)
			}
		}
		if a := c.send(t, "POST", "/logout", nil, bearer(session.Access)); a.status != 200 {
			t.Fatalf("logout: %d %s", a.status, a.body)
		}
		answered := time.Now()
		took = append(took, untilRefusedEverywhere(t, gates, session.Access, answered))
		session = c.login(t, bob)
	}

	slices.Sort(took)
	p50, p99, worst := took[len(took)/2], took[len(took)*99/100], took[len(took)-1]
	t.Logf("%d logouts, until three gates refuse: p50 %v, p99 %v, max %v", len(took), p50, p99, worst)
	if worst > maxStaleness {
		t.Errorf("max %v is above max_staleness %v", worst, maxStaleness)
	}
	if p99 > 50*time.Millisecond {
		t.Errorf("p99 %v is above 50 ms", p99)
	}
}

// untilRefusedEverywhere asks every gate, all at once, until each has refused.
func untilRefusedEverywhere(t *testing.T, gates []authv3.AuthorizationClient, token string, since time.Time) time.Duration {
	t.Helper()
	took := make([]time.Duration, len(gates))
	var wait sync.WaitGroup
	for i, gate := range gates {
		wait.Go(func() {
			for time.Since(since) < time.Minute {
				if check(t, gate, token) == http.StatusUnauthorized {
					took[i] = time.Since(since)
					return
				}
			}
			t.Errorf("gate %d still allows after a minute", i+1)
			took[i] = time.Since(since)
		})
	}
	wait.Wait()
	return slices.Max(took)
}

// check asks one gate as Envoy would, and gives the HTTP status that the client would get: 200 when it allows.
func check(t *testing.T, gate authv3.AuthorizationClient, token string) int {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	response, err := gate.Check(ctx, &authv3.CheckRequest{Attributes: &authv3.AttributeContext{
		Request: &authv3.AttributeContext_Request{Http: &authv3.AttributeContext_HttpRequest{
			Method: "GET", Path: "/protected", Host: "localhost", Headers: map[string]string{
				":method": "GET", ":path": "/protected", ":authority": "localhost", "authorization": "Bearer " + token,
			},
		}},
	}})
	if err != nil {
		t.Errorf("a gate's RPC failed: %v", err)
		return 0
	}
	if response.GetStatus().GetCode() == 0 {
		return http.StatusOK
	}
	return int(response.GetDeniedResponse().GetStatus().GetCode())
}
