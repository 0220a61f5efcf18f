package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/sallyport/sallyport/internal/keyring"
)

func newKeys() *cobra.Command {
	ring := &ringFlags{}
	cmd := &cobra.Command{
		Use:   "keys",
		Short: "Look at and rotate the key ring",
		Long: `Shows and rotates an issuer's key ring. A key goes next -> active -> retired: a next key is
published but does not sign yet, the active one signs, a retired one stays published until
its last token has expired. Issuers notice by themselves that the folder has changed.`,
		Args: cobra.ArbitraryArgs,
		RunE: group,
	}
	ring.bind(cmd)
	cmd.AddCommand(ring.list(), ring.rotate(), ring.promote(), ring.retire(), ring.remove(),
		ring.revoke(), ring.reseal(), ring.lifetimes())
	return cmd
}

func (r *ringFlags) list() *cobra.Command {
	return &cobra.Command{
		Use:   "list",
		Short: "List the keys and their states",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			keys, err := r.folder().List(cmd.Context())
			if err != nil {
				return err
			}
			return r.print(cmd.OutOrStdout(), keys)
		},
	}
}

func (r *ringFlags) rotate() *cobra.Command {
	var use, algorithm string
	var force bool
	cmd := &cobra.Command{
		Use:   "rotate",
		Short: "Rotate once: next becomes active, active retires, a new next one is made",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			keys, err := r.folder().Rotate(cmd.Context(), keyring.Use(use), algorithm, force)
			if err != nil {
				return hint(err)
			}
			return r.print(cmd.OutOrStdout(), keys)
		},
	}
	cmd.Flags().StringVar(&use, "use", string(keyring.Signing), "which keys: signing or refresh")
	cmd.Flags().StringVar(&algorithm, "algorithm", "",
		"algorithm of the new next signing key (default: as the active one)")
	bindForce(cmd, &force)
	return cmd
}

func (r *ringFlags) promote() *cobra.Command {
	return r.step("promote KID", "Make a next key active and retire the active one",
		(*keyring.Folder).Promote)
}

func (r *ringFlags) retire() *cobra.Command {
	return r.step("retire KID", "Take a key out of signing; an active one hands over to the next",
		(*keyring.Folder).Retire)
}

// stepFunc is a step of the ring that concerns one key.
type stepFunc func(f *keyring.Folder, ctx context.Context, kid string,
	force bool) (keyring.Key, error)

// step is a command on one key that can be too early.
func (r *ringFlags) step(use, short string, do stepFunc) *cobra.Command {
	var force bool
	cmd := &cobra.Command{
		Use:   use,
		Short: short,
		Args:  argument("the id of a key", 1),
		RunE: func(cmd *cobra.Command, args []string) error {
			key, err := do(r.folder(), cmd.Context(), args[0], force)
			if err != nil {
				return hint(err)
			}
			return r.print(cmd.OutOrStdout(), []keyring.Key{key})
		},
	}
	bindForce(cmd, &force)
	return cmd
}

func (r *ringFlags) remove() *cobra.Command {
	return &cobra.Command{
		Use:   "remove KID",
		Short: "Take a key out of the ring at once: nothing that it signed is known from then on",
		Long: `Takes a key out of the ring and deletes its file, at once. Everybody whose token it signed
must refresh or log in again. Gates that hold the key already go on accepting it until they
fetch the key set anew: for a key that has been stolen use "revoke".`,
		Args: argument("the id of a key", 1),
		RunE: func(cmd *cobra.Command, args []string) error {
			key, err := r.folder().Remove(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			return r.print(cmd.OutOrStdout(), []keyring.Key{key})
		},
	}
}

func (r *ringFlags) reseal() *cobra.Command {
	var to string
	var plain bool
	cmd := &cobra.Command{
		Use:   "reseal",
		Short: "Encrypt the keys under another passphrase, or leave them unencrypted",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if (to == "") == !plain {
				return errors.New("expected either --new-passphrase-file or --plain")
			}
			folder := r.folder()
			if err := folder.Reseal(cmd.Context(), to); err != nil {
				return err
			}
			keys, err := folder.List(cmd.Context())
			if err != nil {
				return err
			}
			return r.print(cmd.OutOrStdout(), keys)
		},
	}
	cmd.Flags().StringVar(&to, "new-passphrase-file", "", "file with the new passphrase")
	cmd.Flags().BoolVar(&plain, "plain", false, "leave the keys unencrypted")
	return cmd
}

func (r *ringFlags) lifetimes() *cobra.Command {
	var longer keyring.Lifetimes
	cmd := &cobra.Command{
		Use:   "lifetimes",
		Short: "Show the issuer's times that the ring is kept by, and make them longer",
		Long: `Shows the times that the ring is kept by: how soon a next key may sign and how long a
retired one stays follows from them. A time that is given and longer than the ring's takes
its place. An issuer with keys.rotate_every does that by itself. Where you rotate by hand, do
it before the issuer's own times are made longer: a rotation by shorter ones drops a key
whose tokens are still valid.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			folder := r.folder()
			folder.Lifetimes = longer
			now, err := folder.Lengthen(cmd.Context())
			if err != nil {
				return err
			}
			return printJSON(cmd.OutOrStdout(), now)
		},
	}
	bindLifetimes(cmd.Flags(), &longer)
	return cmd
}

func bindForce(cmd *cobra.Command, force *bool) {
	cmd.Flags().BoolVar(force, "force", false, "do it although not every gate can know the next "+
		"key yet: some will refuse good tokens for a while")
}

// hint names the flag that takes a step which came too early.
func hint(err error) error {
	if errors.Is(err, keyring.ErrTooEarly) {
		return fmt.Errorf("%w (--force does that)", err)
	}
	return err
}

// print prints keys as a table, or JSON.
func (r *ringFlags) print(w io.Writer, keys []keyring.Key) error {
	if r.asJSON {
		return printJSON(w, keys)
	}
	table := tabwriter.NewWriter(w, 0, 0, 3, ' ', 0)
	fmt.Fprintln(table, "STATE\tUSE\tALGORITHM\tKEY ID\tSINCE\t")
	for _, k := range keys {
		since, note := times(k)
		fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%s\t%s\n", k.State, k.Use, k.Algorithm, k.ID,
			since.UTC().Format(time.RFC3339), note)
	}
	return table.Flush()
}

// times returns since when a key is what it is, and what comes next.
func times(k keyring.Key) (since time.Time, note string) {
	switch k.State {
	case keyring.Next:
		return k.Created, "may sign from " + k.Ready.UTC().Format(time.RFC3339)
	case keyring.Retired:
		return k.Retired, "leaves the ring at " + k.Until.UTC().Format(time.RFC3339)
	}
	return k.Activated, ""
}
