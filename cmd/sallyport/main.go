// Command sallyport is the operator's command: it shows Sallyport on one machine, makes keys and password hashes, and turns
// the key ring.
package main

import (
	"fmt"
	"os"
	"runtime/debug"

	"github.com/spf13/cobra"
)

// version is set by the build.
var version = ""

func main() {
	if err := newCommand().Execute(); err != nil {
		fmt.Fprintf(os.Stderr, "sallyport: %v\n", err)
		os.Exit(1)
	}
}

func newCommand() *cobra.Command {
	root := &cobra.Command{
		Use:           "sallyport",
		Short:         "Login, tokens and instant revocation for service meshes",
		SilenceErrors: true, // main prints them, once
		SilenceUsage:  true,
		Args:          cobra.NoArgs,
	}
	root.AddCommand(newDemo(), newKeygen(), newKeys(), newPasswd(), newUpstream(), newVersion())
	return root
}

func newVersion() *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "Print the version",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			_, err := fmt.Fprintln(cmd.OutOrStdout(), "sallyport", buildVersion())
			return err
		},
	}
}

// buildVersion is what the build has set, else what the Go toolchain knows of the module.
func buildVersion() string {
	if version != "" {
		return version
	}
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "" {
		return info.Main.Version
	}
	return "unknown"
}
