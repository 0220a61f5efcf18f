// Package internal_test has the rules of the whole module, as which room may import which.
package internal_test

import (
	"encoding/json"
	"errors"
	"io"
	"os/exec"
	"path"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/sallyport/sallyport/"

// floors lists the rooms from top to bottom. A room may import those below it,
// never one above it or beside it (on the same line). A package inside a room counts as that room
// unless it has a line of its own. bench is a module of its own, which nothing here can import.
var floors = [][]string{
	{"e2e", "bench"},
	{"internal/meshtest"},
	{"internal/model"},
	{"cmd/issuer", "cmd/authz", "cmd/relay", "cmd/sallyport"},
	{"internal/mesh"},
	{"authz/module"},
	{"authz/gate"},
	{"authz/extauthz", "authz/filter", "authz/httpcheck"},
	{"authz/check"},
	{"authz", "issuer"},
	{"issuer/admin"},
	{"issuer/httpapi"},
	{"internal/policy"},
	{"internal/credential"},
	{"internal/session"},
	{"internal/sender"},
	{"internal/keyset"},
	{"internal/ssf/stream"},
	{"internal/keyring"},
	{"internal/revocation/relay"},
	{"internal/revocation/redislog"},
	{"internal/revocation/liveset"},
	{"internal/ssf"},
	{"internal/revocation"},
	{"internal/jose/signing"},
	{"internal/jose"},
	{"internal/decisionlog"},
	{"internal/token"},
	{"internal/unary"},
	{"internal/listen"},
	{"internal/redisconn"},
	{"internal/daemon"},
	{"internal/config"},
	{"internal/adminapi"},
	{"internal/audit"},
	{"internal/clock"},
	{"internal/outbound"},
	{"internal/livefile"},
	{"internal/ownfile"},
	{"internal/gcra"},
	{"internal/eventually"},
}

// reserved says who alone may import a library. The reason is printed when the rule is broken.
var reserved = []struct {
	library string
	rooms   []string
	reason  string
}{
	{
		"github.com/lestrrat-go/jwx",
		[]string{"internal/jose/signing"},
		"internal/jose/signing is the only importer of jwx",
	},
	{
		"cel.dev/cel-go",
		[]string{"internal/policy"},
		"internal/policy/condition is the only importer of CEL",
	},
	{"github.com/go-jose/go-jose", nil, "go-jose is an oracle for tests only"},
	{"github.com/golang-jwt/jwt", nil, "golang-jwt is an oracle for tests only"},
}

// barred says what a room may never import directly, so that it stays pure.
var barred = []struct {
	room      string
	libraries []string
	reason    string
}{
	{
		"authz",
		[]string{
			"google.golang.org/grpc",
			"github.com/envoyproxy",
			"github.com/lestrrat-go/jwx",
			"github.com/redis",
			"net",
			"net/http",
			"internal/redisconn",
			"internal/revocation/redislog",
		},
		"the engine knows no transport: keys, revocations and clock come through small interfaces " +
			"that it declares",
	},
	{"internal/revocation/liveset", []string{"github.com/redis", "net", "net/http"},
		"the set is pure: time is an argument"},
	{"internal/revocation", []string{"github.com/redis", "net", "net/http", "internal/redisconn"},
		"the state machines of revocation are pure: events in, actions out, time as an argument"},
	{
		"internal/model",
		// go-redis it may: a test holds the model's Redis against a real one
		[]string{"net", "net/http", "internal/redisconn", "internal/revocation/redislog"},
		"the model drives the machines alone: its Redis is its own",
	},
	{"internal/ssf", []string{"github.com/redis", "net", "net/http", "internal/redisconn"},
		"what a security event asks for is pure: claims and the time in, requests out"},
	{"internal/token", []string{"github.com/", "google.golang.org/", "net", "net/http", "internal/"},
		"the rules on claims are pure and stand on the standard library alone"},
	{"internal/config", []string{"internal/revocation", "internal/redisconn", "internal/token"},
		"config knows no room's settings"},
}

type goPackage struct {
	ImportPath   string
	Imports      []string
	TestImports  []string
	XTestImports []string
}

// TestARoomImportsOnlyThoseBelowIt reads the import graph of the whole module. Tests in a package
// of their own (package x_test) may also import meshtest, which starts a whole stack, and rooms
// inside their own.
func TestARoomImportsOnlyThoseBelowIt(t *testing.T) {
	packages := listPackages(t)
	if len(packages) < len(floors)/2 {
		t.Fatalf("read only %d packages: the graph is not whole", len(packages))
	}
	for _, p := range packages {
		from := room(p.ImportPath)
		if from == "" {
			continue
		}
		for _, to := range p.Imports {
			judge(t, p.ImportPath, from, to)
			judgeLibraries(t, p.ImportPath, from, to)
		}
		for _, to := range p.TestImports {
			judge(t, p.ImportPath+" (tests)", from, to)
			if from == "internal/model" { // all of it is tests
				judgeLibraries(t, p.ImportPath+" (tests)", from, to)
			}
		}
		for _, to := range p.XTestImports {
			if room(to) != "internal/meshtest" && path.Dir(room(to)) != from {
				judge(t, p.ImportPath+" (package _test)", from, to)
			}
		}
	}
}

// TestEveryPackageIsInARoom: a package that no floor names would escape the rule.
func TestEveryPackageIsInARoom(t *testing.T) {
	for _, p := range listPackages(t) {
		if p.ImportPath != strings.TrimSuffix(module, "/")+"/internal" && room(p.ImportPath) == "" {
			t.Errorf("%s is in no room: give it a floor in this file", p.ImportPath)
		}
	}
}

// TestAGateLinksNothingThatSigns: neither a way to sign, nor private keys, nor a JOSE library stands
// in the process beside Envoy, or in Envoy's own.
func TestAGateLinksNothingThatSigns(t *testing.T) {
	for _, dir := range []string{"cmd/authz", "authz/module"} {
		linksNone(t, dir,
			"github.com/lestrrat-go", module+"internal/keyring", module+"internal/jose/signing")
	}
}

// TestAGateLinksNoTemplates: they call methods by name, so that the linker keeps every method of
// everything that is linked, which is eleven megabytes. They came with gRPC's server, by its page of
// traces; what a gate has of gRPC is the names of its statuses.
func TestAGateLinksNoTemplates(t *testing.T) {
	linksNone(t, "cmd/authz", "html/template", "golang.org/x/net/trace",
		"google.golang.org/grpc/internal/transport")
}

// TestAGateInsideEnvoyLinksNoServer: nobody asks it over gRPC.
func TestAGateInsideEnvoyLinksNoServer(t *testing.T) {
	linksNone(t, "authz/module", "html/template", "golang.org/x/net/trace", "golang.org/x/net/http2",
		"google.golang.org/grpc/internal/transport", module+"internal/unary")
}

// linksNone fails when the program in a folder links one of packages, or what lies inside them.
func linksNone(t *testing.T, dir string, packages ...string) {
	t.Helper()
	cmd := exec.Command("go", "list", "-deps", ".")
	cmd.Dir = path.Join("..", dir)
	cmd.Env = append(cmd.Environ(), "CGO_ENABLED=1") // the module for Envoy is nothing without
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	linked := strings.Fields(string(out))
	if !slices.Contains(linked, module+"internal/jose") {
		t.Fatalf("read no list of what %s links", dir)
	}
	for _, p := range linked {
		for _, barred := range packages {
			if within(p, barred) {
				t.Errorf("%s links %s", dir, p)
			}
		}
	}
}

func judge(t *testing.T, name, from, to string) {
	t.Helper()
	target := room(to)
	if target == "" || target == from {
		return
	}
	if floor(target) <= floor(from) {
		t.Errorf("%s imports %s: a room may import those below it, never one above or beside it",
			name, to)
	}
}

func judgeLibraries(t *testing.T, name, from, to string) {
	t.Helper()
	for _, r := range reserved {
		if within(to, r.library) && !slices.Contains(r.rooms, from) {
			t.Errorf("%s imports %s: %s", name, to, r.reason)
		}
	}
	for _, b := range barred {
		if from != b.room {
			continue
		}
		for _, library := range b.libraries {
			if strings.HasPrefix(library, "internal/") {
				library = module + library
			}
			if within(to, library) && room(to) != from {
				t.Errorf("%s imports %s: %s", name, to, b.reason)
			}
		}
	}
}

// within reports whether package p is library or lies inside it. A name without a slash, as "net",
// means that package alone: net/netip and net/url are values, not a network.
func within(p, library string) bool {
	if !strings.Contains(library, "/") {
		return p == library
	}
	return p == library || strings.HasPrefix(p, strings.TrimSuffix(library, "/")+"/")
}

// room returns the room that a package lies in: the longest one that is the package's path or a
// folder above it.
func room(importPath string) string {
	for p, ok := strings.CutPrefix(importPath, module); ok && p != "."; p = path.Dir(p) {
		if floor(p) >= 0 {
			return p
		}
	}
	return ""
}

func floor(room string) int {
	return slices.IndexFunc(floors, func(rooms []string) bool { return slices.Contains(rooms, room) })
}

func listPackages(t *testing.T) []goPackage {
	t.Helper()
	cmd := exec.Command("go", "list", "-tags", "model",
		"-json=ImportPath,Imports,TestImports,XTestImports", "./...")
	cmd.Dir = ".."
	out, err := cmd.Output()
	if err != nil {
		var exit *exec.ExitError
		if errors.As(err, &exit) {
			t.Fatalf("go list: %v\n%s", err, exit.Stderr)
		}
		t.Fatal(err)
	}
	var packages []goPackage
	for d := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p goPackage
		if err := d.Decode(&p); errors.Is(err, io.EOF) {
			return packages
		} else if err != nil {
			t.Fatal(err)
		}
		packages = append(packages, p)
	}
}
