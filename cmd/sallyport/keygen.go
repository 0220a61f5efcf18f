package main

import (
	"errors"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/sallyport/sallyport/internal/keyring"
)

// ringFlags are those of every command on a key ring.
type ringFlags struct {
	dir           string
	passphrase    string
	groupReadable bool
	asJSON        bool
}

func (r *ringFlags) bind(cmd *cobra.Command) {
	f := cmd.PersistentFlags()
	f.StringVar(&r.dir, "dir", "keys", "folder of the key ring")
	f.StringVar(&r.passphrase, "passphrase-file", "",
		"file with the passphrase that the keys are encrypted with")
	f.BoolVar(&r.groupReadable, "group-readable", false, "permit key files that their group may read")
	f.BoolVar(&r.asJSON, "json", false, "print JSON")
}

func (r *ringFlags) folder() *keyring.Folder {
	return &keyring.Folder{Dir: r.dir, PassphraseFile: r.passphrase, GroupReadable: r.groupReadable}
}

func newKeygen() *cobra.Command {
	ring := &ringFlags{}
	algorithm := keyring.DefaultConfig().Algorithm
	lifetimes := keyring.DefaultLifetimes()
	var ifMissing bool
	cmd := &cobra.Command{
		Use:   "keygen",
		Short: "Make a new key ring",
		Long: `Makes a key ring: a signing key that is active and the next one, a key for refresh tokens
and one for the names of sessions. Every issuer of one installation needs the same ring. A
folder that holds a ring already stays as it is.

How soon the next key may sign, and how long a retired one stays, follows from the issuer's
times: give those that differ from the defaults in its configuration. An issuer that rotates
keys by itself (keys.rotate_every) makes the ring's times longer when its own are; for one
that does not, run "keys lifetimes" whenever they become longer.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			folder := ring.folder()
			folder.Lifetimes = lifetimes
			keys, err := folder.Generate(cmd.Context(), algorithm)
			if ifMissing && errors.Is(err, keyring.ErrExists) {
				_, err = ring.folder().List(cmd.Context()) // it has to be one that can be read
				return err
			}
			if err != nil {
				return err
			}
			return ring.print(cmd.OutOrStdout(), keys)
		},
	}
	ring.bind(cmd)
	flags := cmd.Flags()
	bindLifetimes(flags, &lifetimes)
	flags.BoolVar(&ifMissing, "if-missing", false,
		"do nothing, and succeed, when the folder holds a ring already")
	flags.StringVar(&algorithm, "algorithm", algorithm,
		"signature algorithm: ES256, ES384, ES512, EdDSA, RS256, PS256, HS256 and so on")
	return cmd
}

// bindLifetimes binds the issuer's times that the ring's rules depend on; their values are the
// defaults.
func bindLifetimes(flags *pflag.FlagSet, l *keyring.Lifetimes) {
	flags.DurationVar(&l.Publish, "key-set-max-age", l.Publish,
		"the issuer's key_set_max_age: how long a reader may keep the key set")
	flags.DurationVar(&l.Token, "max-lifetime", l.Token,
		"the longest lifetime of the issuer's access tokens")
	flags.DurationVar(&l.Session, "session-lifetime", l.Session,
		"the longest lifetime of the issuer's sessions")
	flags.DurationVar(&l.Spread, "keys-spread", l.Spread,
		"the issuer's keys.spread: how long a change of the folder takes to reach every issuer")
	flags.DurationVar(&l.Skew, "clock-skew", l.Skew,
		"how far the clocks of issuers and gates may be from the right time")
}
