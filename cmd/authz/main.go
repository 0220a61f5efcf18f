// Command authz is a gate: it stands beside Envoy and decides on every request.
//
//	authz serve --config authz.yaml
//
// Every setting of the file can also be given in the environment (redis.address is
// SALLYPORT_REDIS_ADDRESS) or as a flag (--redis-address); a flag wins over the environment, which
// wins over the file.
package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"runtime/debug"

	"github.com/sallyport/sallyport/authz/extauthz"
	"github.com/sallyport/sallyport/authz/gate"
	"github.com/sallyport/sallyport/internal/daemon"
	"github.com/sallyport/sallyport/internal/daemon/command"
)

// version is set by the build.
var version = ""

func main() { program().Main() }

func program() command.Program[gate.Config] {
	return command.Program[gate.Config]{
		Name:        "authz",
		Noun:        "gate",
		Short:       "A gate: decides on every request that Envoy asks about",
		Version:     daemon.BuildVersion(version),
		ErrorPrefix: "authz: ",
		FileUsage:   "the configuration file",
		Required:    "authz.yaml",
		Defaults:    gate.DefaultConfig,
		Load:        gate.Load,
		Admin:       func(c *gate.Config) daemon.Config { return c.Admin.Config },
		Log:         func(c *gate.Config) daemon.LogConfig { return c.Log },
		ServeShort:  "Run the gate",
		Serve:       serve,
		CheckShort:  "Check the configuration, without connecting to anything",
		Check:       check,
	}
}

func serve(ctx context.Context, c command.Loaded[gate.Config], out io.Writer,
	logger *slog.Logger) error {
	if os.Getenv("GOGC") == "" {
		// Requests leave little behind and the cache is bounded: a small heap is collected less often.
		// With very many revocations in memory it makes no difference.
		debug.SetGCPercent(400)
	}
	g, err := gate.New(c.Config, options(c, out, logger))
	if err != nil {
		return err
	}
	return g.Run(ctx)
}

func check(ctx context.Context, c command.Loaded[gate.Config], out io.Writer) error {
	notes, err := gate.Check(ctx, c.Config, options(c, io.Discard, nil))
	if err != nil {
		return err
	}
	for _, note := range notes {
		if _, err := fmt.Fprintln(out, note); err != nil {
			return err
		}
	}
	_, err = fmt.Fprintf(out, "ok: gate %s trusts %d issuers and has %d routes\n", c.Config.Name,
		len(c.Config.Issuers), len(c.Config.Policy.Routes))
	return err
}

func options(c command.Loaded[gate.Config], out io.Writer, logger *slog.Logger) gate.Options {
	return gate.Options{
		Version: daemon.BuildVersion(version), Audit: out, Logger: logger, File: c.File, Read: c.Read,
		Transport: extauthz.GRPC,
	}
}
