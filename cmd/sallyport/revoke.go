package main

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"net/http"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/sallyport/sallyport/internal/adminapi"
)

// revoke is what the flags of `sallyport revoke` say.
type revoke struct {
	admin        adminFlags
	selector     selector
	issuedBefore string
	order        order
	dryRun       bool
	wait         time.Duration
	json         bool
}

func newRevoke() *cobra.Command {
	r := &revoke{}
	cmd := &cobra.Command{
		Use:   "revoke",
		Short: "Revoke a token, a session, or all of a user, client, tenant, key or issuer",
		Long: `Has an issuer write a revocation into the log, and waits for the gates to have applied it.
It is stored when this command says so: an error means that it is not known to be, and that
the same command may be given again.

What ends where: of the issuer that is asked, a session (--sid) or a user's (--sub) end, refresh
tokens included. With another one's --issuer nothing ends there. Gates refuse the session's
tokens, new ones as well, for as long as it may live: max_session_lifetime in the setting
other_issuers. The answer says until when. By --sub they refuse those of the user's sessions
whose tokens say, by auth_time, that they began before. End them at their own issuer, too. By
--client, --tenant and --iss such sessions go on, and so they do by --jti and --kid anywhere.

Exit status: 0 when every live gate refuses what was revoked, 2 when it is stored and some
gate has not applied it yet, 1 on an error.`,
		Example: `  sallyport revoke --sub alice --reason left_the_company
  sallyport revoke --sid 'dGFn~cmFuZG9t' --dry-run
  sallyport revoke --client app --issued-before 2026-01-31T12:00:00Z
  sallyport revoke --sid 9f3c --issuer https://keycloak.example/realms/main`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			ctx, stop := untilSignal(cmd.Context())
			defer stop()
			return r.run(ctx, cmd.OutOrStdout())
		},
	}
	f := cmd.Flags()
	r.selector.bind(f)
	f.StringVar(&r.issuedBefore, "issued-before", "",
		"with --client, --tenant and --iss: the time up to which it reaches, "+
			"as 2026-01-31T12:00:00Z (default: now)")
	r.order.bind(f, "operator")
	f.BoolVar(&r.dryRun, "dry-run", false, "change nothing, and tell what it would end")
	f.DurationVar(&r.wait, "wait", 2*time.Second,
		"how long to wait for the gates to have applied it; 0: not at all")
	f.BoolVar(&r.json, "json", false, "print the issuer's answer as JSON")
	r.admin.bind(f)
	return cmd
}

func (r *revoke) run(ctx context.Context, out io.Writer) error {
	wanted, err := r.selector.revocation()
	if err != nil {
		return err
	}
	if r.wait < 0 {
		return fmt.Errorf("--wait: expected a time of 0 or more, got %s", r.wait)
	}
	if r.issuedBefore != "" {
		if _, err := time.Parse(time.RFC3339, r.issuedBefore); err != nil {
			return fmt.Errorf("--issued-before: expected a time as 2026-01-31T12:00:00Z, got %q",
				r.issuedBefore)
		}
		wanted.IssuedBefore = r.issuedBefore
	}
	wanted.Reason, wanted.Actor = r.order.reason, r.order.by()
	api, err := r.admin.open()
	if err != nil {
		return err
	}
	if r.dryRun {
		return r.preview(ctx, out, api, wanted)
	}
	return r.carryOut(ctx, out, api, wanted)
}

func (r *revoke) carryOut(ctx context.Context, out io.Writer, api *adminClient,
	wanted adminapi.Revocation) error {
	var got adminapi.Revoked
	err := api.call(ctx, http.MethodPost, waiting(adminapi.RevocationsPath, r.wait), wanted, &got)
	if err != nil {
		// These two mean that nothing was done, and that the same command would be refused again.
		if refused(err, http.StatusBadRequest) || refused(err, http.StatusUnauthorized) {
			return err
		}
		return fmt.Errorf("the revocation is not acknowledged, so give the same command again: %w", err)
	}
	if r.json {
		err = printJSON(out, got)
	} else {
		_, err = fmt.Fprintf(out, "revoked %s%s: %s\n%s%s", subjectOf(wanted), at(wanted, got),
			acknowledged(got), noteUnknown(got, wanted.Value), noteElsewhere(got))
	}
	if err != nil {
		return err
	}
	return everywhere(got)
}

// noteElsewhere returns what a revocation at another issuer does and does not do; "" if it was at
// the one that was asked.
func noteElsewhere(a adminapi.Revoked) string {
	if a.Effect == "" {
		return ""
	}
	note := printable(a.Effect) + "\n"
	if a.Until != nil {
		note += "That holds until " + a.Until.Format(time.RFC3339) + ".\n"
	}
	return note
}

// noteUnknown returns a warning for whoever has named nobody; "" if there is none to give.
func noteUnknown(a adminapi.Revoked, what string) string {
	if a.Sessions == nil || *a.Sessions > 0 {
		return ""
	}
	return "note: no session of " + printable(what) + " was known. If you expected one, check the " +
		"spelling: a revocation of another name ends nothing.\n"
}

// subjectOf names what is revoked, for people.
func subjectOf(wanted adminapi.Revocation) string {
	names := map[string]string{
		"jti":    "the token",
		"sid":    "the session",
		"sub":    "the sessions of",
		"client": "what the client has out:",
		"tenant": "what the tenant has out:",
		"kid":    "what was signed with the key",
		"iss":    "everything issued by",
	}
	return names[wanted.Kind] + " " + printable(cmp.Or(wanted.Value, wanted.Issuer))
}

// at names the issuer of what was revoked, where the subject does not.
func at(wanted adminapi.Revocation, got adminapi.Revoked) string {
	if wanted.Kind == "iss" || got.Issuer == "" {
		return ""
	}
	return " at issuer " + printable(got.Issuer)
}

func (r *revoke) preview(ctx context.Context, out io.Writer, api *adminClient,
	wanted adminapi.Revocation) error {
	var got adminapi.Preview
	err := api.call(ctx, http.MethodPost, adminapi.RevocationsPath+"?dry_run=true", wanted, &got)
	if err != nil {
		return err
	}
	if r.json {
		return printJSON(out, got)
	}
	return printPreview(out, &got, wanted)
}

func printPreview(out io.Writer, p *adminapi.Preview, wanted adminapi.Revocation) error {
	fmt.Fprintf(out, "dry run: nothing is changed. Revoking %s, at issuer %s:\n%s\n",
		subjectOf(wanted), printable(p.Issuer), printable(p.Effect))
	if p.Revoked != nil && *p.Revoked {
		fmt.Fprintln(out, "It is revoked already.")
	}
	switch {
	case !p.SessionsKnown:
		_, err := fmt.Fprintln(out, "How many sessions that ends is not known.")
		return err
	case p.SessionsTotal == 0:
		_, err := fmt.Fprintln(out, "It ends no session that is known.")
		return err
	}
	ends := "It ends"
	if p.Revoked != nil && *p.Revoked {
		ends = "It names"
	}
	fmt.Fprintf(out, "%s %s:\n\n", ends, countOf(p.SessionsTotal, "session"))
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "SESSION\tUSER\tCLIENT\tTENANT\tBEGAN\tEXPIRES\tSTATE")
	for _, s := range p.Sessions {
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\t%s\n", orDash(s.ID), orDash(s.Subject),
			orDash(s.ClientID), orDash(s.Tenant), s.Began.Format(time.RFC3339),
			s.Expires.Format(time.RFC3339), orDash(s.State))
	}
	if err := w.Flush(); err != nil {
		return err
	}
	if more := p.SessionsTotal - len(p.Sessions); more > 0 {
		_, err := fmt.Fprintf(out, "... and %d more\n", more)
		return err
	}
	return nil
}

func countOf(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}
