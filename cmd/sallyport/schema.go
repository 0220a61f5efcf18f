package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/sallyport/sallyport/authz/gate"
	"github.com/sallyport/sallyport/internal/config"
	"github.com/sallyport/sallyport/internal/revocation/relay"
	"github.com/sallyport/sallyport/issuer"
)

func newSchema() *cobra.Command {
	return &cobra.Command{
		Use:   "schema authz|issuer|relay|test",
		Short: "Print a JSON Schema of a configuration file, for editors",
		Long: `Prints a JSON Schema of authz.yaml, of issuer.yaml, of relay.yaml, or of the files of
"sallyport test", made from the settings themselves. An editor completes and checks by it. Where it understands the YAML language
server, write it into a file and name that in the first line of the configuration:

  # yaml-language-server: $schema=authz.schema.json

It knows names and types. What settings must not be beside each other, and what they may hold, is for
"authz check", "issuer check" and "relay check" to say. Settings by former names, which the programs still accept,
it refuses.`,
		Args:      usage(cobra.ExactArgs(1)),
		ValidArgs: []string{"authz", "issuer", "relay", "test"},
		RunE: func(cmd *cobra.Command, args []string) error {
			var dst any
			switch args[0] {
			case "authz":
				c := gate.DefaultConfig()
				dst = &c
			case "issuer":
				c := issuer.DefaultConfig()
				dst = &c
			case "relay":
				c := relay.DefaultConfig()
				dst = &c
			case "test":
				dst = &policyTest{}
			default:
				return asUsage(fmt.Errorf("expected authz, issuer, relay or test, got %q", args[0]))
			}
			text, err := config.Schema(dst, args[0]+".yaml")
			if err != nil {
				return err
			}
			_, err = fmt.Fprintln(cmd.OutOrStdout(), string(text))
			return err
		},
	}
}
