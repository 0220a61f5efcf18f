package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/sallyport/sallyport/internal/adminapi"
	"github.com/sallyport/sallyport/internal/keyring"
)

// keyRevocation is what the flags of `sallyport keys revoke` say.
type keyRevocation struct {
	ring    *ringFlags
	admin   adminFlags
	wait    time.Duration
	removed bool
	order   order
}

func (r *ringFlags) revoke() *cobra.Command {
	k := &keyRevocation{ring: r}
	cmd := &cobra.Command{
		Use:   "revoke KID",
		Short: "For a stolen key: take it out of the ring and revoke all that it signed, in one step",
		Long: `Takes a key out of the ring, as "remove" does, and has an issuer write the key into the
revocation log, so that every gate refuses what it signed at once and forgets the key. Users
whose tokens it signed refresh or log in again. Nothing is changed unless the issuer's admin
API answers and the ring has the key. Should the revocation then not be stored, the error
says how to try it again.`,
		Args: argument("the id of a key", 1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return k.run(cmd.Context(), cmd.OutOrStdout(), args[0])
		},
	}
	f := cmd.Flags()
	k.admin.bind(f)
	k.order.bind(f, "key_revoked")
	f.DurationVar(&k.wait, "wait", 5*time.Second, "how long to wait for the gates to have applied it")
	f.BoolVar(&k.removed, "removed", false, "the key is out of the ring already: revoke it only")
	return cmd
}

func (k *keyRevocation) run(ctx context.Context, out io.Writer, kid string) error {
	if err := k.order.check(); err != nil {
		return err
	}
	api, err := k.admin.open()
	if err != nil {
		return err
	}
	if err := api.call(ctx, http.MethodGet, adminapi.StatusPath, nil, nil); err != nil {
		return fmt.Errorf("nothing was changed: %w", err)
	}
	if !k.removed {
		key, err := k.ring.folder().Remove(ctx, kid)
		if err != nil && (errors.Is(err, keyring.ErrUnknownKey) || k.inRing(ctx, kid)) {
			return fmt.Errorf(
				"nothing was changed: %w (--removed revokes a key that is in the ring no more)",
				err)
		}
		// the key is out of the ring, though its file is still there: what it signed has to be revoked
		if err != nil {
			fmt.Fprintf(out, "removed key %s from %s, but: %v\n", kid, k.ring.dir, err)
			return k.revoke(ctx, out, api, kid)
		}
		fmt.Fprintf(out, "removed the %s %s key %s from %s\n", key.State, key.Use, kid, k.ring.dir)
		// it has signed no token, and no refresh token that it made is known any more
		if key.Use == keyring.Refresh {
			return nil
		}
	}
	return k.revoke(ctx, out, api, kid)
}

// inRing reports whether the ring has the key, as far as can be told.
func (k *keyRevocation) inRing(ctx context.Context, kid string) bool {
	keys, err := k.ring.folder().List(ctx)
	return err != nil || slices.ContainsFunc(keys, func(key keyring.Key) bool { return key.ID == kid })
}

// revoke has the key written into the log; the issuer answers only once that is stored. A failed
// attempt is repeated: a second entry of one key does no harm.
func (k *keyRevocation) revoke(ctx context.Context, out io.Writer, api *adminClient,
	kid string) error {
	// The key is out of the ring by now, but until this is stored gates still accept what it signed.
	wanted := adminapi.Revocation{Kind: "kid", Value: kid, Reason: k.order.reason, Actor: k.order.by()}
	var got adminapi.Revoked
	err := errors.New("not tried")
	for attempt := 0; attempt < 3 && err != nil && ctx.Err() == nil; attempt++ {
		got = adminapi.Revoked{}
		err = api.call(ctx, http.MethodPost, waiting(adminapi.RevocationsPath, k.wait), wanted, &got)
	}
	if err != nil {
		return fmt.Errorf("key %s is out of the ring, but its revocation is not acknowledged, and "+
			"gates may still accept what it signed; run the same command with --removed: %w", kid, err)
	}
	_, err = fmt.Fprintf(out, "revoked everything that it signed: %s\n", acknowledged(got))
	return err
}
