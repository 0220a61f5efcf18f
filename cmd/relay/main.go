// Command relay stands between gates and Redis: it follows the revocation log once for all gates
// that ask it instead of Redis, so that one Redis carries many more of them.
//
//	relay serve --config relay.yaml
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

	"github.com/sallyport/sallyport/internal/daemon"
	"github.com/sallyport/sallyport/internal/daemon/command"
	"github.com/sallyport/sallyport/internal/revocation/relay"
)

// version is set by the build.
var version = ""

func main() { program().Main() }

func program() command.Program[relay.Config] {
	return command.Program[relay.Config]{
		Name:        "relay",
		Noun:        "relay",
		Short:       "A relay: hands the revocation log on to gates",
		Version:     daemon.BuildVersion(version),
		ErrorPrefix: "relay: ",
		FileUsage:   "the configuration file",
		Required:    "relay.yaml",
		Defaults:    relay.DefaultConfig,
		Load:        relay.Load,
		Admin:       func(c *relay.Config) daemon.Config { return c.Admin },
		Log:         func(c *relay.Config) daemon.LogConfig { return c.Log },
		ServeShort:  "Run the relay",
		Serve:       serve,
		CheckShort:  "Check the configuration, without connecting to anything",
		Check:       check,
	}
}

func serve(ctx context.Context, c command.Loaded[relay.Config], _ io.Writer,
	logger *slog.Logger) error {
	r, err := relay.Open(c.Config, daemon.BuildVersion(version), logger)
	if err != nil {
		return err
	}
	return r.Run(ctx)
}

func check(_ context.Context, c command.Loaded[relay.Config], out io.Writer) error {
	if err := relay.Check(c.Config, daemon.BuildVersion(version)); err != nil {
		return err
	}
	_, err := fmt.Fprintf(out, "ok: relay %s listens on %s\n", c.Config.Name, c.Config.Listen)
	return err
}
