package extauthz

import (
	"errors"
	"strings"
	"testing"

	"google.golang.org/grpc/encoding"

	"github.com/sallyport/sallyport/authz"
	"github.com/sallyport/sallyport/authz/authztest"
	"github.com/sallyport/sallyport/internal/revocation"
	"github.com/sallyport/sallyport/internal/token"
)

// TestCVE has what went wrong in other gates, by the id of the advisory: what is of the transport
// here.
func TestCVE(t *testing.T) {
	for id, test := range map[string]func(*testing.T){
		"CVE-2021-32777":      severalHeaders,
		"CVE-2023-27487":      pathFromAClientsHeader,
		"CVE-2023-27488":      bytesThatAreNotText,
		"CVE-2026-26308":      joinedDuplicates,
		"CVE-2026-73547":      requestsWithoutPath,
		"CVE-2021-32637":      pathsOfAnyBytes,
		"CVE-2022-41316":      logNotLoadedYet,
		"CVE-2024-41666":      TestWhatATokenOpensEndsWithIt,
		"CVE-2022-21698":      TestNothingThatACallerSendsBecomesALabel,
		"GHSA-xr7q-jx4m-x55m": TestNoTokenIsInAnAuditLine,
		"GHSA-hrxh-6v49-42gf": rapidReset,
		"CVE-2023-45288":      endlessContinuation,
		"CVE-2026-56853":      silentConnections,
		"CVE-2025-59043":      compressedMessages,
	} {
		t.Run(id, test)
	}
}

// bothWays asks with headers as text and raw.
func bothWays(t *testing.T, w *authztest.World, want authztest.Want, r authz.Request) {
	t.Helper()
	b := start(t, w)
	for _, raw := range []bool{false, true} {
		authztest.Compare(t, want, b.ask(t, raw)(r))
	}
}

func severalHeaders(t *testing.T) {
	w := authztest.New()
	good := "Bearer " + w.Token()
	for _, headers := range [][]string{
		{good, "Bearer x"}, {"Bearer x", good}, {good, good}, {good + ",Bearer x"}, {"Bearer x," + good},
	} {
		var all []string
		for _, h := range headers {
			all = append(all, "authorization", h)
		}
		bothWays(t, w, authztest.Invalid(token.ReasonManyTokens), authztest.Get("/protected", all...))
	}
}

func pathFromAClientsHeader(t *testing.T) {
	bothWays(t, authztest.New(), authztest.NoToken,
		authztest.Get("/protected", "x-envoy-original-path", "/public"))
}

// bytesThatAreNotText: no byte in a header makes a request pass that would not pass without it, nor
// the RPC fail, which a proxy configured to fail open would take for leave.
func bytesThatAreNotText(t *testing.T) {
	b := start(t, authztest.New())
	good := "Bearer " + b.world.Token()
	for c := 0x80; c <= 0xff; c++ {
		odd := string([]byte{byte(c)})
		for _, raw := range []bool{false, true} {
			ask := b.ask(t, raw)
			authztest.Compare(t, authztest.NoToken,
				ask(authztest.Get("/protected", "x-any", odd, "cookie", odd, "x"+odd, "y")))
			for _, bad := range []string{
				odd + good, good + odd, "Bearer " + odd, strings.Replace(good, ".", odd, 1),
			} {
				if got := ask(authztest.Get("/protected", "authorization", bad)); got.Status != 401 {
					t.Fatalf("%#x in the token: got %d", c, got.Status)
				}
			}
			authztest.Compare(t, authztest.Malformed(token.ReasonBadPath), ask(authztest.Get("/public"+odd)))
			authztest.Compare(t, authztest.Alice,
				ask(authztest.Get("/protected", "authorization", good, "x-any", odd)))
		}
	}
}

func joinedDuplicates(t *testing.T) {
	w := authztest.New()
	bothWays(t, w, authztest.Invalid(token.ReasonManyTokens),
		authztest.Get("/protected", "x-access-token", w.Token()+","+w.Token()))
}

func requestsWithoutPath(t *testing.T) {
	bothWays(t, authztest.New(), authztest.Malformed(token.ReasonBadPath), authztest.Do("CONNECT", ""))
	TestWhatIsNoRequestIsRefused(t)
}

func pathsOfAnyBytes(t *testing.T) {
	b := start(t, authztest.New())
	for c := range 256 {
		if c == '?' || c == '/' {
			continue
		}
		if got := b.ask(t, false)(authztest.Get("/public" + string([]byte{byte(c)}))); got.Status == 200 {
			t.Errorf("%#x behind a public path: allowed", c)
		}
	}
}

func logNotLoadedYet(t *testing.T) {
	w := authztest.New()
	w.Revocations.Fresh = revocation.Freshness{Why: revocation.WhyNoCopy}
	good := "Bearer " + w.Token()
	for _, path := range []string{"/protected", "/api/x", "/admin", "/maybe", "/tolerant"} {
		bothWays(t, w, authztest.Unavailable(token.ReasonNoCopy),
			authztest.Get(path, "authorization", good))
	}
}

// compressedMessages: nothing that could inflate is built in, so that a compressed message is not
// even looked at.
func compressedMessages(t *testing.T) {
	b := start(t, authztest.New())
	for _, name := range []string{"gzip", "deflate", "snappy", "zstd"} {
		if encoding.GetCompressor(name) != nil {
			t.Errorf("%s is built in", name)
		}
		client := connect(t, b.address)
		bomb := message("\x01\x00\x00\x00\x0a\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\xff")
		err := errors.Join(client.open(1, "grpc-encoding", name), client.WriteData(1, true, bomb))
		if err != nil {
			t.Fatal(err)
		}
		if got := client.trailer(t, "grpc-status"); got != "12" { // unimplemented
			t.Errorf("%s: got status %s", name, got)
		}
	}
}
