package main

import (
	"fmt"
	"runtime"

	"github.com/spf13/cobra"

	"github.com/sallyport/sallyport/internal/config"
	"github.com/sallyport/sallyport/internal/daemon"
	"github.com/sallyport/sallyport/issuer"
)

// envPrefix begins the names of the environment's settings: redis.address is
// SALLYPORT_REDIS_ADDRESS.
const envPrefix = "SALLYPORT"

func newCommand() *cobra.Command {
	root := &cobra.Command{
		Use:           "issuer",
		Short:         "Sallyport's issuer: logins, tokens, and their revocation",
		SilenceUsage:  true,
		SilenceErrors: true,
		Args:          cobra.NoArgs,
	}
	root.AddCommand(serveCommand(), checkCommand(), healthcheckCommand(), versionCommand())
	return root
}

// configured adds the configuration's flags to a command and gives what loads it.
func configured(cmd *cobra.Command) func() (issuer.Config, error) {
	defaults := issuer.DefaultConfig()
	file := cmd.Flags().String("config", "", "the issuer's file, issuer.yaml")
	config.BindFlags(cmd.Flags(), &defaults)
	return func() (issuer.Config, error) {
		cfg := issuer.DefaultConfig()
		err := config.Load(&cfg, config.Options{File: *file, EnvPrefix: envPrefix, Flags: cmd.Flags()})
		return cfg, err
	}
}

func checkCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "check",
		Short: "Check the configuration and the files it names, and change nothing",
		Args:  cobra.NoArgs,
	}
	load := configured(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		cfg, err := load()
		if err != nil {
			return err
		}
		if err := check(cfg); err != nil {
			return err
		}
		_, err = fmt.Fprintln(cmd.OutOrStdout(),
			"ok: the configuration, the key ring, the users and all files that are named can be used")
		return err
	}
	return cmd
}

func versionCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "Print the version",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			_, err := fmt.Fprintf(cmd.OutOrStdout(), "issuer %s %s %s/%s\n",
				daemon.BuildVersion(version), runtime.Version(), runtime.GOOS, runtime.GOARCH)
			return err
		},
	}
}
