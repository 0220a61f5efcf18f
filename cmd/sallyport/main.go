// Command sallyport is the operator's command: it runs a demo on one machine, makes keys and
// password hashes, rotates keys, revokes, and shows how far every gate has read the log.
package main

import (
	"errors"
	"fmt"
	"os"
	"strings"

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
		Args:          cobra.ArbitraryArgs, // group judges them
	}
	root.SetFlagErrorFunc(flagError)
	root.RunE = group
	root.AddCommand(newDemo(), newExplain(), newKeygen(), newKeys(), newPasswd(), newReplay(), newRevocations(), newRevoke(), newSchema(),
		newStatus(), newTest(), newUpstream(), newUsers(), newVersion())
	return root
}

// flagError says where to read on about flags.
func flagError(cmd *cobra.Command, err error) error {
	return fmt.Errorf("%w; see %s --help", err, cmd.CommandPath())
}

// group runs a command that only has subcommands: it lists them, and refuses an unknown one.
func group(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return cmd.Help()
	}
	cmd.SuggestionsMinimumDistance = 2 // letters apart
	hint := "see " + cmd.CommandPath() + " --help"
	if near := cmd.SuggestionsFor(args[0]); len(near) > 0 {
		hint = "did you mean " + strings.Join(near, " or ") + "?"
	}
	return fmt.Errorf("%s has no command %q; %s", cmd.CommandPath(), args[0], hint)
}

// argument returns a check for at least one argument and at most so many, or any number when most
// is 0; what names the first.
func argument(what string, most int) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if len(args) == 0 || most > 0 && len(args) > most {
			return fmt.Errorf("expected %s, got %d arguments: %s", what, len(args), cmd.UseLine())
		}
		return nil
	}
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
