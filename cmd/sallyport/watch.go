package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/url"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/sallyport/sallyport/internal/adminapi"
)

// watch follows the log.
type watch struct {
	admin    adminFlags
	selector selector
	after    uint64
	behind   bool // after was given
	interval time.Duration
	json     bool

	out, notes io.Writer
	epoch      string
	failing    bool
}

func newRevocationsWatch() *cobra.Command {
	w := &watch{}
	cmd := &cobra.Command{
		Use:   "watch",
		Short: "Print entries of the log as they come, until Ctrl-C",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			ctx, stop := untilSignal(cmd.Context())
			defer stop()
			w.behind = cmd.Flags().Changed("after")
			w.out, w.notes = cmd.OutOrStdout(), cmd.ErrOrStderr()
			return w.run(ctx)
		},
	}
	f := cmd.Flags()
	w.selector.bind(f)
	f.Uint64Var(&w.after, "after", 0, "begin behind this place instead of now")
	f.DurationVar(&w.interval, "interval", time.Second, "time between two looks")
	f.BoolVar(&w.json, "json", false, "print one JSON object a line")
	w.admin.bind(f)
	return cmd
}

// minInterval keeps a watch from being a load.
const minInterval = 50 * time.Millisecond

func (w *watch) run(ctx context.Context) error {
	if w.interval < minInterval {
		return fmt.Errorf("--interval: expected at least %s, got %s", minInterval, w.interval)
	}
	filter, err := w.selector.query()
	if err != nil {
		return err
	}
	api, err := w.admin.open()
	if err != nil {
		return err
	}
	if err := w.begin(ctx, api); err != nil {
		return err
	}
	// An error does not end a watch: the place in the log is kept until the issuer answers again.
	for ctx.Err() == nil {
		more, err := w.step(ctx, api, filter)
		if err != nil && ctx.Err() == nil {
			w.note(err)
		}
		if err == nil {
			w.failing = false
		}
		if more && err == nil {
			continue
		}
		select {
		case <-time.After(w.interval):
		case <-ctx.Done():
		}
	}
	return nil
}

// begin finds where the log is now. A watch does not begin at an issuer that does not answer.
func (w *watch) begin(ctx context.Context, api *adminClient) error {
	page, err := api.page(ctx, nil, 0, 1)
	if err != nil {
		return err
	}
	if page.Head != nil {
		w.epoch = page.Head.Epoch
		if !w.behind {
			w.after = page.Head.Seq
		}
	}
	return nil
}

// step prints what is new, and reports whether there may be more at once.
func (w *watch) step(ctx context.Context, api *adminClient,
	filter url.Values) (more bool, err error) {
	page, err := api.page(ctx, filter, w.after, adminapi.MaxEntries)
	if err != nil {
		return false, err
	}
	if head := page.Head; head != nil && head.Epoch != w.epoch {
		// Places of another epoch are other entries: begin with the first one.
		began := w.epoch != ""
		w.epoch, w.after = head.Epoch, 0
		if began {
			fmt.Fprintf(w.notes,
				"the log has begun anew, as epoch %s: what follows is its content from the beginning\n",
				printable(head.Epoch))
		}
		return true, nil
	}
	for _, e := range page.Entries {
		if err := w.print(e); err != nil {
			return false, err
		}
	}
	w.after = max(w.after, page.Last)
	return page.Next > 0, nil
}

func (w *watch) print(e adminapi.Entry) error {
	if w.json {
		return json.NewEncoder(w.out).Encode(e)
	}
	line := tabwriter.NewWriter(w.out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(line, row(e))
	return line.Flush()
}

// note reports once that the issuer cannot be asked; the watch goes on.
func (w *watch) note(err error) {
	if !w.failing {
		fmt.Fprintf(w.notes, "%v; trying again\n", err)
	}
	w.failing = true
}
