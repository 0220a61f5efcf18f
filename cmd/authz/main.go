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
	"os"

	"github.com/spf13/cobra"

	"github.com/sallyport/sallyport/internal/daemon"
)

// version is set by the build.
var version = ""

func main() {
	if err := command(os.Stdout, os.Stderr).ExecuteContext(context.Background()); err != nil {
		if !daemon.Told(err) {
			fmt.Fprintln(os.Stderr, "authz:", err)
		}
		os.Exit(1)
	}
}

// command is the whole command line. Audit lines and answers go to out, logs to log.
func command(out, log io.Writer) *cobra.Command {
	root := &cobra.Command{
		Use:           "authz",
		Short:         "A gate: decides on every request that Envoy asks about",
		SilenceUsage:  true,
		SilenceErrors: true,
	}
	root.SetOut(out)
	root.SetErr(log)
	root.AddCommand(serveCommand(out, log), checkCommand(out), healthcheckCommand(),
		versionCommand(out))
	return root
}

func versionCommand(out io.Writer) *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "Print the version",
		Args:  cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			_, err := fmt.Fprintln(out, "authz", daemon.BuildVersion(version))
			return err
		},
	}
}
