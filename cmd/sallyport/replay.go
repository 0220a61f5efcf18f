package main

import (
	"bufio"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/sallyport/sallyport/authz/gate"
	"github.com/sallyport/sallyport/internal/config"
	"github.com/sallyport/sallyport/internal/decisionlog"
)

func newReplay() *cobra.Command {
	var configFile, beforeFile string
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "replay FILE...",
		Short: "Decide anew what a gate has logged, by another configuration, and show what changes",
		Long: `Reads decision logs of gates (the setting decision_log; - is standard input), has a gate's own
engine decide each request again by the policy of another configuration, at the time that the line
has, and tells which verdicts change: what was allowed and is refused, what was refused and is
allowed, and what is refused for another reason.

Tokens are made for the run, of the claims that the line has: no issuer is asked. It is the policy
that is asked, as in "sallyport test". What was refused before a policy had its say, as an expired
or a forged token, stays so, unless the route needs no token now. Where the new policy goes by what
the line does not have, the answer is "unknown", beside what decision_log would have to log.
A token is put where the line says it stood. Which cookie, parameter or scheme that was, it does
not say: --before tells, where a policy has looked for tokens in other than the usual places.

Exit status: 0 when no verdict changes, 1 when one does, 2 when that cannot be known of each line.`,
		Example: `  sallyport replay decisions.jsonl --config new.yaml
  docker compose logs --no-log-prefix gate | sallyport replay - --config new.yaml --json`,
		Args: usage(cobra.MinimumNArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			ctx, stop := untilSignal(cmd.Context())
			defer stop()
			return asUsage(runReplay(ctx, cmd, args, configFile, beforeFile, asJSON))
		},
	}
	cmd.SetFlagErrorFunc(flagUsage)
	cmd.Flags().StringVar(&configFile, "config", "", "the gate's configuration file that is tried out")
	cmd.Flags().StringVar(&beforeFile, "before", "",
		"the configuration that has decided: where tokens were looked for, if not in the usual places")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

// replayed is what became of all lines.
type replayed struct {
	Decisions  int       `json:"decisions"`
	Same       int       `json:"same"`
	Allows     int       `json:"allows"`     // what was refused
	Refuses    int       `json:"refuses"`    // what was allowed
	Differs    int       `json:"differs"`    // refused for another reason
	Unknown    int       `json:"unknown"`    // the line does not have what the policy goes by
	Dropped    uint64    `json:"dropped"`    // decisions that have no line, by what the lines say
	Others     int       `json:"others"`     // lines of other events
	Unreadable int       `json:"unreadable"` // lines of nothing
	Changes    []*change `json:"changes"`

	groups map[change]*change
	first  error // why the first unreadable line is
}

// change is what became of lines that are alike.
type change struct {
	Kind     string `json:"kind"` // allows, refuses, differs or unknown
	Was      string `json:"was"`  // allowed, or the reason of the refusal
	WasRoute string `json:"was_route,omitempty"`
	Now      string `json:"now,omitempty"`
	Route    string `json:"route,omitempty"`
	Why      string `json:"why,omitempty"` // of what is unknown: what the line lacks
	Lines    int    `json:"lines"`
	Example  string `json:"example"` // the first one's decision id
}

// maxChanges is how many kinds of changes are told apart: whoever wrote the file may have made up as
// many routes and reasons as there are lines.
const maxChanges = 1000

func runReplay(ctx context.Context, cmd *cobra.Command, files []string,
	configFile, beforeFile string, asJSON bool) error {
	if configFile == "" {
		return errors.New("expected --config, the configuration that is tried out")
	}
	c, err := gate.Load(config.Options{File: configFile, WithoutSecrets: true})
	if err != nil {
		return err
	}
	var before *gate.Config
	if beforeFile != "" {
		before, err = gate.Load(config.Options{File: beforeFile, WithoutSecrets: true})
		if err != nil {
			return err
		}
	}
	p, err := newPlayer(c, before)
	if err != nil {
		return err
	}
	result := &replayed{groups: map[change]*change{}, Changes: []*change{}}
	for _, file := range files {
		if err := replayFile(ctx, cmd.InOrStdin(), file, p, result); err != nil {
			return err
		}
	}
	slices.SortStableFunc(result.Changes, func(a, b *change) int {
		return cmp.Or(strings.Compare(a.Kind, b.Kind), cmp.Compare(b.Lines, a.Lines))
	})
	if asJSON {
		err = printJSON(cmd.OutOrStdout(), result)
	} else {
		err = result.print(cmd.OutOrStdout(), configFile)
	}
	return cmp.Or(err, result.status())
}

// status is the error that has the exit status.
func (r *replayed) status() error {
	switch changed := r.Allows + r.Refuses + r.Differs; {
	case changed > 0:
		return exitError{fmt.Errorf("%d of %d decisions change", changed, r.Decisions), 1}
	case r.Unreadable > 0:
		return exitError{fmt.Errorf("%d lines cannot be read; the first: %w", r.Unreadable, r.first),
			statusUsage}
	case r.Unknown > 0:
		return exitError{fmt.Errorf("of %d of %d decisions it is not known whether they change", r.Unknown,
			r.Decisions), statusUsage}
	case r.Decisions == 0:
		return exitError{errors.New("expected lines of a decision log, got none"), statusUsage}
	}
	return nil
}

func replayFile(ctx context.Context, stdin io.Reader, file string, p *player, to *replayed) error {
	in := stdin
	if file != "-" {
		f, err := os.Open(file)
		if err != nil {
			return err
		}
		defer f.Close()
		in = f
	}
	lines := decisionlog.NewReader(in)
	defer func() { to.Others += lines.Others }()
	for ctx.Err() == nil {
		record, err := lines.Next()
		var bad *decisionlog.LineError
		switch {
		case err == io.EOF:
			return nil
		case errors.As(err, &bad):
			to.Unreadable++
			if to.first == nil {
				to.first = fmt.Errorf("%s: %w", file, bad)
			}
			continue
		case err != nil:
			return err
		}
		now, err := p.decide(ctx, record)
		if err != nil {
			return fmt.Errorf("%s: the decision %s: %w", file, printable(record.ID), err)
		}
		to.count(record, now)
	}
	return ctx.Err()
}

// count compares a line with what would become of it now.
func (r *replayed) count(was *decisionlog.Record, now verdict) {
	r.Decisions++
	r.Dropped += was.Dropped
	c := change{Was: cmp.Or(was.Reason, was.Verdict), WasRoute: was.Route, Route: now.route}
	c.Now = cmp.Or(now.reason, decisionlog.Allowed)
	switch {
	case now.unknown != "":
		c.Kind, c.Now, c.Why = "unknown", "", now.unknown
		r.Unknown++
	case c.Was == c.Now:
		r.Same++
		return
	case was.Verdict == decisionlog.Allowed:
		c.Kind = "refuses"
		r.Refuses++
	case c.Now == decisionlog.Allowed:
		c.Kind = "allows"
		r.Allows++
	default:
		c.Kind = "differs"
		r.Differs++
	}
	group := r.groups[c]
	if group == nil && len(r.groups) == maxChanges {
		c = change{Kind: c.Kind, Why: "and others"}
		group = r.groups[c]
	}
	if group == nil {
		group = &c
		r.groups[c] = group
		r.Changes = append(r.Changes, group)
		group = r.Changes[len(r.Changes)-1]
		group.Example = was.ID
	}
	group.Lines++
}

var kindTitles = map[string]string{
	"refuses": "allowed, and would be refused", "allows": "refused, and would be allowed",
	"differs": "refused for another reason", "unknown": "unknown",
}

func (r *replayed) print(to io.Writer, configFile string) error {
	out := bufio.NewWriter(to)
	kind := ""
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	for _, c := range r.Changes {
		if c.Kind != kind {
			kind = c.Kind
			fmt.Fprintf(w, "%s:\n", kindTitles[kind])
		}
		fmt.Fprintf(w, "  %d\t%s%s\t", c.Lines, printable(c.Was), by(c.WasRoute))
		if c.Kind == "unknown" {
			fmt.Fprintf(w, "now unknown%s\tas %s\n  \t%s\n", by(c.Route), printable(c.Example), printable(c.Why))
		} else {
			fmt.Fprintf(w, "now %s%s\tas %s\n", printable(c.Now), by(c.Route), printable(c.Example))
		}
	}
	if len(r.Changes) > 0 {
		fmt.Fprintln(w)
	}
	if err := w.Flush(); err != nil {
		return err
	}
	fmt.Fprintf(out, "%d decisions by %s: %d as they were, %d would be refused, %d would be allowed, "+
		"%d refused for another reason, %d unknown\n", r.Decisions, printable(configFile), r.Same,
		r.Refuses, r.Allows, r.Differs, r.Unknown)
	if r.Dropped > 0 {
		fmt.Fprintf(out, "%d more have no line: there were too many at once\n", r.Dropped)
	}
	if r.Others > 0 {
		fmt.Fprintf(out, "%d lines are of other events\n", r.Others)
	}
	if r.Unreadable > 0 {
		fmt.Fprintf(out, "%d lines cannot be read; the first: %s\n", r.Unreadable,
			printable(r.first.Error()))
	}
	return out.Flush()
}

func by(route string) string {
	if route == "" {
		return ""
	}
	return " by " + printable(route)
}
