// Command issuer checks who somebody is, hands out tokens, and writes the revocation log.
//
//	issuer serve --config issuer.yaml
package main

import (
	"context"
	"fmt"
	"io"
	"runtime"

	"github.com/sallyport/sallyport/internal/daemon"
	"github.com/sallyport/sallyport/internal/daemon/command"
	"github.com/sallyport/sallyport/issuer"
)

// version is set by the build.
var version = ""

func main() { program().Main() }

func program() command.Program[issuer.Config] {
	return command.Program[issuer.Config]{
		Name:  "issuer",
		Noun:  "issuer",
		Short: "Sallyport's issuer: logins, tokens, and their revocation",
		Version: fmt.Sprintf("%s %s %s/%s", daemon.BuildVersion(version), runtime.Version(),
			runtime.GOOS, runtime.GOARCH),
		FileUsage:  "the issuer's file, issuer.yaml",
		Defaults:   issuer.DefaultConfig,
		Admin:      func(c *issuer.Config) daemon.Config { return c.Admin.Config },
		Log:        func(c *issuer.Config) daemon.LogConfig { return c.Log },
		ServeShort: "Run the issuer until SIGINT or SIGTERM; SIGHUP reads keys and users again",
		Serve:      serve,
		CheckShort: "Check the configuration and the files it names, and change nothing",
		Check: func(_ context.Context, c command.Loaded[issuer.Config], out io.Writer) error {
			if err := check(c.Config); err != nil {
				return err
			}
			_, err := fmt.Fprintln(out,
				"ok: the configuration, the key ring, the users and all files that are named can be used")
			return err
		},
	}
}
