package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/sallyport/sallyport/bench/world"
	"github.com/sallyport/sallyport/internal/mesh"
)

// programs is where what is measured was built.
type programs struct {
	dir    string        // our daemons, and this module's programs
	ours   world.Program // our gate
	module string        // our gate as a module of Envoy's
	base   world.Program // the gate of another tree; none when its path is ""
	// the folder with the issuer of the other tree, beside what else a mesh of ours consists of
	baseIssuer string
}

// build builds what is measured as it is shipped, and what it is compared with in the same way.
// The folder is kept: the next run has little to do.
func build(ctx context.Context, root, base string) (programs, error) {
	p := programs{dir: filepath.Join(root, ".tools", "bench")}
	p.ours = world.Program{Path: filepath.Join(p.dir, "authz"), Root: root}
	if err := os.MkdirAll(p.dir, 0o755); err != nil {
		return p, fmt.Errorf("bench: %w", err)
	}
	if err := goBuild(ctx, root, p.dir, "./cmd/..."); err != nil {
		return p, err
	}
	if err := goBuild(ctx, filepath.Join(root, "bench"), p.dir, "./writer", "./servers/stock",
		"./servers/opa"); err != nil {
		return p, err
	}
	p.module = filepath.Join(p.dir, mesh.ModuleFile)
	if err := goBuildModule(ctx, filepath.Join(root, "authz", "module"), p.module); err != nil {
		return p, err
	}
	if base == "" {
		return p, nil
	}
	p.base = world.Program{Path: filepath.Join(p.dir, "base", "authz"), Root: base}
	p.baseIssuer = filepath.Join(p.dir, "base-issuer")
	if err := goBuild(ctx, base, p.base.Path, "./cmd/authz"); err != nil {
		return p, err
	}
	if err := goBuild(ctx, root, filepath.Join(p.baseIssuer, "authz"), "./cmd/authz"); err != nil {
		return p, err
	}
	return p, goBuild(ctx, base, filepath.Join(p.baseIssuer, "issuer"), "./cmd/issuer")
}

func goBuild(ctx context.Context, dir, out string, packages ...string) error {
	if info, err := os.Stat(out); err == nil && info.IsDir() {
		out += string(filepath.Separator)
	}
	return runGo(ctx, dir, "0", append([]string{"-o", out}, packages...)...)
}

// goBuildModule builds what Envoy loads: a shared library, which takes gcc.
func goBuildModule(ctx context.Context, dir, out string) error {
	return runGo(ctx, dir, "1", "-buildmode=c-shared", "-o", out, ".")
}

// runGo builds as the image does (deploy/Dockerfile).
func runGo(ctx context.Context, dir, cgo string, args ...string) error {
	cmd := exec.CommandContext(ctx, "go",
		append([]string{"build", "-trimpath", "-ldflags", "-s -w"}, args...)...)
	cmd.Dir, cmd.Env = dir, append(os.Environ(), "CGO_ENABLED="+cgo)
	if text, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("bench: go build %s in %s: %w\n%s", strings.Join(args, " "), dir, err, text)
	}
	return nil
}

// findRoot returns the folder of this working tree, above the folder bench.
func findRoot() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", fmt.Errorf("bench: %w", err)
	}
	for ; ; dir = filepath.Dir(dir) {
		if _, err := os.Stat(filepath.Join(dir, "cmd", "authz")); err == nil {
			return dir, nil
		}
		if dir == filepath.Dir(dir) {
			return "", fmt.Errorf("bench: expected to run inside a clone of Sallyport")
		}
	}
}
