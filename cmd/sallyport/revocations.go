package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/sallyport/sallyport/internal/adminapi"
)

func newRevocations() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "revocations",
		Short: "Look at the revocation log: list, show, watch",
		Args:  cobra.ArbitraryArgs,
		RunE:  group,
	}
	cmd.AddCommand(newRevocationsList(), newRevocationsShow(), newRevocationsWatch())
	return cmd
}

// page reads the entries behind a place.
func (a *adminClient) page(ctx context.Context, filter url.Values, after uint64,
	limit int) (p adminapi.Entries, err error) {
	q := url.Values{"after": {strconv.FormatUint(after, 10)}, "limit": {strconv.Itoa(limit)}}
	for name, values := range filter {
		q[name] = values
	}
	err = a.call(ctx, http.MethodGet, adminapi.RevocationsPath+"?"+q.Encode(), nil, &p)
	return p, err
}

// revocationsList is what the flags of `sallyport revocations list` say.
type revocationsList struct {
	admin    adminFlags
	selector selector
	after    uint64
	behind   bool // after was given
	limit    int
	json     bool
}

func newRevocationsList() *cobra.Command {
	l := &revocationsList{}
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List the newest entries of the log, or those of a selector",
		Long: `Lists entries of the revocation log, oldest first: the newest ones, or with --after those
behind a place. An entry stays until no token that it names can be valid any more. Ending a
user's sessions writes an entry of kind sid for each, and one of kind sub.`,
		Example: `  sallyport revocations list --limit 20
  sallyport revocations list --sub alice
  sallyport revocations list --after 0 --limit 0 --json`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			ctx, stop := untilSignal(cmd.Context())
			defer stop()
			l.behind = cmd.Flags().Changed("after")
			return l.run(ctx, cmd.OutOrStdout(), cmd.ErrOrStderr())
		},
	}
	f := cmd.Flags()
	l.selector.bind(f)
	f.Uint64Var(&l.after, "after", 0, "begin behind this place instead of at the newest ones")
	f.IntVar(&l.limit, "limit", 50, "how many; 0: all")
	f.BoolVar(&l.json, "json", false, "print JSON")
	l.admin.bind(f)
	return cmd
}

func (l *revocationsList) run(ctx context.Context, out, notes io.Writer) error {
	if l.limit < 0 {
		return fmt.Errorf("--limit: expected 0 or more, got %d", l.limit)
	}
	filter, err := l.selector.query()
	if err != nil {
		return err
	}
	api, err := l.admin.open()
	if err != nil {
		return err
	}
	entries, next, err := l.collect(ctx, api, filter)
	if err != nil {
		return err
	}
	if l.json {
		return printJSON(out, entries)
	}
	if err := printEntries(out, entries); err != nil {
		return err
	}
	// Not among the entries: those may be piped into another program.
	if next > 0 {
		fmt.Fprintf(notes, "there may be more: --after %d\n", next)
	}
	return nil
}

// collect reads pages: from after on until limit, or, without after, all that match, of which the
// newest are kept.
func (l *revocationsList) collect(ctx context.Context, api *adminClient,
	filter url.Values) (entries []adminapi.Entry, next uint64, err error) {
	after := l.after
	// The newest of all are where the log ends, so that it need not be read from its beginning. Those
	// of a selector may be anywhere.
	if !l.behind && len(filter) == 0 && l.limit > 0 {
		first, err := api.page(ctx, nil, 0, 1)
		if err != nil {
			return nil, 0, err
		}
		if first.Head != nil && first.Head.Seq > uint64(l.limit) {
			after = first.Head.Seq - uint64(l.limit)
		}
	}
	entries = []adminapi.Entry{}
	for {
		ask := adminapi.MaxEntries
		if l.behind && l.limit > 0 {
			ask = min(ask, l.limit-len(entries))
		}
		page, err := api.page(ctx, filter, after, ask)
		if err != nil {
			return nil, 0, err
		}
		entries = append(entries, page.Entries...)
		if !l.behind && l.limit > 0 && len(entries) > l.limit {
			entries = slices.Clone(entries[len(entries)-l.limit:])
		}
		// A page that does not lead on must not be asked for again and again.
		if page.Next <= after { // also 0: that was all
			return entries, 0, nil
		}
		after = page.Next
		if l.behind && l.limit > 0 && len(entries) >= l.limit {
			return entries, after, nil
		}
	}
}

func printEntries(out io.Writer, entries []adminapi.Entry) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "SEQ\tAT\tKIND\tVALUE\tISSUED BEFORE\tREASON\tACTOR\tEXPIRES")
	for _, e := range entries {
		fmt.Fprintln(w, row(e))
	}
	return w.Flush()
}

// row is an entry in one line; its issuer is its value when it has no other.
func row(e adminapi.Entry) string {
	before := "-"
	if e.IssuedBefore != nil {
		before = e.IssuedBefore.Format(time.RFC3339)
	}
	return fmt.Sprintf("%d\t%s\t%s\t%s\t%s\t%s\t%s\t%s", e.Seq, e.At.Format(time.RFC3339),
		orDash(e.Kind), orDash(cmp.Or(e.Value, e.Issuer)), before, orDash(e.Reason),
		orDash(e.Actor), e.Expires.Format(time.RFC3339))
}

func newRevocationsShow() *cobra.Command {
	var (
		admin    adminFlags
		selector selector
		asJSON   bool
	)
	cmd := &cobra.Command{
		Use:   "show [SEQ]",
		Short: "Show an entry of the log, by its place or by a selector, and who has applied it",
		Example: `  sallyport revocations show 17
  sallyport revocations show --sid 'dGFn~cmFuZG9t'`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			ctx, stop := untilSignal(cmd.Context())
			defer stop()
			filter, err := selector.query()
			if err != nil {
				return err
			}
			if (len(args) == 1) == (filter.Get("kind") != "") {
				return errors.New("expected the place of an entry, or one of --jti, --sid, --sub, " +
					"--client, --tenant, --kid and --iss")
			}
			api, err := admin.open()
			if err != nil {
				return err
			}
			entry, err := api.find(ctx, args, filter)
			if err != nil {
				return err
			}
			return show(ctx, cmd.OutOrStdout(), api, entry, asJSON)
		},
	}
	selector.bind(cmd.Flags())
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	admin.bind(cmd.Flags())
	return cmd
}

// find returns the entry at a place, or the newest one of a selector.
func (a *adminClient) find(ctx context.Context, args []string,
	filter url.Values) (e adminapi.Entry, err error) {
	if len(args) == 1 {
		seq, err := strconv.ParseUint(args[0], 10, 53)
		if err != nil || seq == 0 {
			return e, fmt.Errorf("expected the place of an entry, as 17, got %q", args[0])
		}
		path := adminapi.RevocationsPath + "/" + strconv.FormatUint(seq, 10)
		err = a.call(ctx, http.MethodGet, path, nil, &e)
		return e, err
	}
	all := &revocationsList{limit: 1}
	entries, _, err := all.collect(ctx, a, filter)
	if err == nil && len(entries) == 0 {
		err = errors.New(
			"the log has no such entry: it was not revoked by that, or the entry has expired")
	}
	if err != nil {
		return e, err
	}
	return entries[0], nil
}

// shown is an entry with those that have applied it.
type shown struct {
	adminapi.Entry
	AppliedBy []string `json:"applied_by"` // gates
	NotYetBy  []string `json:"not_yet_by"`
}

func show(ctx context.Context, out io.Writer, api *adminClient, e adminapi.Entry,
	asJSON bool) error {
	var status adminapi.Status
	if err := api.call(ctx, http.MethodGet, adminapi.StatusPath, nil, &status); err != nil {
		return err
	}
	s := shown{Entry: e, AppliedBy: []string{}, NotYetBy: []string{}}
	for _, g := range status.Gates {
		switch {
		case !g.Live: // it refuses everything, or answers nobody
		case g.OnLog && g.Seq >= e.Seq:
			s.AppliedBy = append(s.AppliedBy, g.Name)
		default:
			s.NotYetBy = append(s.NotYetBy, g.Name)
		}
	}
	if asJSON {
		return printJSON(out, s)
	}
	return s.print(out)
}

func (s *shown) print(out io.Writer) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	row := func(name, value string) { fmt.Fprintf(w, "%s\t%s\n", name, orDash(value)) }
	row("seq", strconv.FormatUint(s.Seq, 10))
	row("kind", s.Kind)
	row("value", s.Value)
	row("issuer", s.Issuer)
	if s.IssuedBefore != nil {
		row("issued before", s.IssuedBefore.Format(time.RFC3339Nano))
	}
	row("reason", s.Reason)
	row("actor", s.Actor)
	row("at", s.At.Format(time.RFC3339Nano))
	row("expires", s.Expires.Format(time.RFC3339Nano))
	row("applied by", fmt.Sprintf("%d/%d gates", len(s.AppliedBy), len(s.AppliedBy)+len(s.NotYetBy)))
	for _, name := range s.NotYetBy {
		row("not yet by", name)
	}
	return w.Flush()
}
