// Command sallyport is the operator's command: it shows Sallyport on one machine, makes keys and password hashes, turns the
// key ring, revokes, and shows how far every gate has come.
package main

import (
	"errors"
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"github.com/sallyport/sallyport/internal/daemon"
)

// version is set by the build.
var version = ""

func main() {
	if err := newCommand().Execute(); err != nil {
		fmt.Fprintf(os.Stderr, "sallyport: %v\n", err)
		os.Exit(exitStatus(err))
	}
}

// exitStatus is 1 for every error that has no status of its own.
func exitStatus(err error) int {
	var own exitError
	if errors.As(err, &own) {
		return own.status
	}
	return 1
}

func newCommand() *cobra.Command {
	root := &cobra.Command{
		Use:           "sallyport",
		Short:         "Login, tokens and instant revocation for service meshes",
		SilenceErrors: true, // main prints them, once
		SilenceUsage:  true,
		Args:          cobra.NoArgs,
	}
	root.AddCommand(newDemo(), newKeygen(), newKeys(), newPasswd(), newRevocations(), newRevoke(), newStatus(), newUpstream(), newUsers(), newVersion())
	return root
}

func newVersion() *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "Print the version",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			_, err := fmt.Fprintln(cmd.OutOrStdout(), "sallyport", daemon.BuildVersion(version))
			return err
		},
	}
}
