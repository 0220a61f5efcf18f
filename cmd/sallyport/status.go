package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/sallyport/sallyport/internal/adminapi"
)

// status is what the flags of `sallyport status` say.
type status struct {
	admin      adminFlags
	within     time.Duration
	ignoreGone bool
	json       bool
}

func newStatus() *cobra.Command {
	s := &status{}
	cmd := &cobra.Command{
		Use:   "status",
		Short: "Show how far every gate and issuer has read the revocation log, and how stale it is",
		Long: `Shows every gate and issuer by its line in Redis, which it writes with each heartbeat.

  ok         it has applied the whole log
  behind     it has not applied, --within the time given, what was in the log when this
             command looked first
  off_log    what it has applied is not the log as it is now: it is loading the log anew
  shared     another process writes its line, mostly one of the same name: give each a name
             of its own. Both go on answering; a logout that waits for the gates gets 202
  unlike     its revocation.max_staleness differs from that of the issuer that was asked:
             give all of them the same
  not_ready  it says that its copy is not to be relied on yet
  stale      its copy was last confirmed more than max_staleness ago: it refuses everything
  gone       nothing was heard of it for max_staleness and settle: it has ended, or is cut
             off and refuses everything. Its line is removed after 10 minutes
  left       a gate that was stopped, and said so last of all: it answers nobody, and no
             logout waits for it. An issuer that is stopped removes its line instead

Exit status: 0 when all of them are ok or have left, 2 when one is not, 1 when it cannot be
known.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			ctx, stop := untilSignal(cmd.Context())
			defer stop()
			return s.run(ctx, cmd.OutOrStdout())
		},
	}
	f := cmd.Flags()
	f.DurationVar(&s.within, "within", time.Second,
		"how long a process may take to be ready and have applied what was in the log at the first "+
			"look; its line is up to a heartbeat old")
	f.BoolVar(&s.ignoreGone, "ignore-gone", false,
		"a process that has gone is no reason for exit status 2")
	f.BoolVar(&s.json, "json", false, "print JSON")
	s.admin.bind(f)
	return cmd
}

func (s *status) run(ctx context.Context, out io.Writer) error {
	api, err := s.admin.open()
	if err != nil {
		return err
	}
	got, err := s.look(ctx, api)
	if err != nil {
		return err
	}
	if s.json {
		err = printJSON(out, got)
	} else {
		err = printStatus(out, got)
	}
	if err != nil {
		return err
	}
	return s.verdict(got)
}

// look reads the status, again and again while somebody is only behind or about to be ready: a line
// is written with a heartbeat, and the log may never stand still.
func (s *status) look(ctx context.Context, api *adminClient) (*adminapi.Status, error) {
	var first *adminapi.Head
	for deadline := time.Now().Add(s.within); ; {
		got := &adminapi.Status{}
		if err := api.call(ctx, http.MethodGet, adminapi.StatusPath, nil, got); err != nil {
			return nil, err
		}
		if first == nil {
			first = got.Head
		}
		// Every other state needs more than a moment, or an operator.
		if !catchUp(got, first) || !time.Now().Before(deadline) {
			return got, nil
		}
		select {
		case <-time.After(100 * time.Millisecond):
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// catchUp marks as ok the processes that have applied what was in the log at the first look, and
// reports whether others may do so soon.
func catchUp(a *adminapi.Status, first *adminapi.Head) (others bool) {
	a.Well = true
	for _, list := range [][]adminapi.Process{a.Gates, a.Issuers} {
		for i := range list {
			p := &list[i]
			// What came into the log since is nobody's fault: a line is up to a heartbeat old.
			if p.State == adminapi.Behind && first != nil && p.Epoch == first.Epoch &&
				p.Seq >= first.Seq {
				p.State = adminapi.OK
			}
			switch p.State {
			case adminapi.Behind, adminapi.OffLog, adminapi.NotReady:
				others = true
			}
			a.Well = a.Well && p.State.Well()
		}
	}
	return others
}

// verdict is nil when everybody is well.
func (s *status) verdict(got *adminapi.Status) error {
	var bad []string
	for _, p := range slices.Concat(got.Gates, got.Issuers) {
		if !p.State.Well() && (p.State != adminapi.Gone || !s.ignoreGone) {
			bad = append(bad, printable(p.Name)+" is "+printable(string(p.State)))
		}
	}
	if len(bad) == 0 {
		return nil
	}
	return exitError{fmt.Errorf("not all is well: %s", strings.Join(bad, ", ")), statusNotEverywhere}
}

func printStatus(out io.Writer, a *adminapi.Status) error {
	if a.Head == nil {
		fmt.Fprintf(out, "revocation log: nobody is on it")
	} else {
		fmt.Fprintf(out, "revocation log: epoch %s, at entry %d", printable(a.Head.Epoch), a.Head.Seq)
	}
	fmt.Fprintf(out, "; max_staleness %s\n\n", time.Duration(a.MaxStaleness*float64(time.Second)))
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "\tNAME\tSTATE\tSEQ\tLAG\tSTALENESS\tKEY SET\tREADY\tVERSION")
	for _, l := range a.Gates {
		printProcess(w, "gate", l)
	}
	for _, l := range a.Issuers {
		printProcess(w, "issuer", l)
	}
	if err := w.Flush(); err != nil {
		return err
	}
	if len(a.Gates) == 0 {
		_, err := fmt.Fprintln(out, "\nThere is no gate on the log.")
		return err
	}
	return nil
}

func printProcess(w io.Writer, role string, l adminapi.Process) {
	lag, ready := "-", "no"
	if l.Lag != nil {
		lag = strconv.FormatUint(*l.Lag, 10)
	}
	if l.Ready {
		ready = "yes"
	}
	fmt.Fprintf(w, "%s\t%s\t%s\t%d\t%s\t%s\t%s\t%s\t%s\n", role, orDash(l.Name),
		orDash(string(l.State)), l.Seq, lag, ago(l.Staleness), ago(l.KeySetAge), ready, orDash(l.Version))
}
