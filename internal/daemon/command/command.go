// Package command is the command line of a daemon: serve, check, healthcheck and version over one
// configuration. A main package says what is its own: its configuration, what it checks and what it
// serves.
//
// It promises:
//   - The configuration comes from a file (--config), the environment and flags, for every command
//     in the same way.
//   - The exit status is 0 if all went well, and 1 otherwise; what went wrong is written once, to
//     the log of a daemon that has one already, else to standard error.
//   - A setting that is given by a former name is accepted. serve warns of it in its log, check in
//     its answer.
package command

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"

	"github.com/spf13/cobra"

	"github.com/sallyport/sallyport/internal/config"
	"github.com/sallyport/sallyport/internal/daemon"
)

// envPrefix begins the names of the environment's settings: redis.address is
// SALLYPORT_REDIS_ADDRESS.
const envPrefix = "SALLYPORT"

// Program is what a daemon has of its own. C is its configuration, a struct of settings. Everything
// but ErrorPrefix, Required and Load is needed.
type Program[C any] struct {
	Name        string // of the program: "authz"
	Noun        string // what it is: "gate"
	Short       string // what it does, in a line
	Version     string // what `version` prints behind the name
	ErrorPrefix string // begins what is said of an error on standard error

	FileUsage string // the help of --config
	Required  string // an example of a file's name, if there must be a file; "" if there need not
	Defaults  func() C
	// Load reads a configuration; nil: into Defaults, with config.Load.
	Load  func(config.Options) (*C, error)
	Admin func(*C) daemon.Config
	Log   func(*C) daemon.LogConfig

	ServeShort string
	// Serve runs the daemon until ctx ends. Security events go to out.
	Serve func(ctx context.Context, c Loaded[C], out io.Writer, logger *slog.Logger) error

	CheckShort string
	// Check returns what Serve would meet, and otherwise says on out that all is well. It starts
	// nothing and changes nothing.
	Check func(ctx context.Context, c Loaded[C], out io.Writer) error
}

// Loaded is a configuration that has been read.
type Loaded[C any] struct {
	Config *C
	File   string // where it was read from; "" if from no file
	// Read is the same again, with other content of the file under the same environment and flags.
	Read func(content []byte) (*C, error)

	warnings []*config.Problem
}

// Main runs the command line of this process and ends the process.
func (p Program[C]) Main() {
	err := p.Command().ExecuteContext(context.Background())
	if err == nil {
		os.Exit(0)
	}
	if !daemon.Told(err) {
		fmt.Fprintf(os.Stderr, "%s%v\n", p.ErrorPrefix, err)
	}
	os.Exit(1)
}

// Command returns the whole command line.
func (p Program[C]) Command() *cobra.Command {
	root := &cobra.Command{Use: p.Name, Short: p.Short, SilenceUsage: true, SilenceErrors: true}
	root.AddCommand(p.serve(), p.check(), p.healthcheck(), p.version())
	return root
}

func (p Program[C]) serve() *cobra.Command {
	return p.configured("serve", p.ServeShort, func(cmd *cobra.Command, c Loaded[C]) error {
		ctx, stop := daemon.Signals(cmd.Context())
		defer stop()
		logger := daemon.NewLogger(cmd.ErrOrStderr(), p.Log(c.Config))
		for _, w := range c.warnings {
			logger.Warn("a setting has another name now", "setting", w.Error())
		}
		return p.Serve(ctx, c, cmd.OutOrStdout(), logger)
	})
}

func (p Program[C]) check() *cobra.Command {
	return p.configured("check", p.CheckShort, func(cmd *cobra.Command, c Loaded[C]) error {
		for _, w := range c.warnings {
			if _, err := fmt.Fprintln(cmd.OutOrStdout(), "warning:", w); err != nil {
				return err
			}
		}
		return p.Check(cmd.Context(), c, cmd.OutOrStdout())
	})
}

func (p Program[C]) healthcheck() *cobra.Command {
	short := fmt.Sprintf("Ask the running %s whether it is ready: exit status 0 if so, 1 if not",
		p.Noun)
	return p.configured("healthcheck", short, func(cmd *cobra.Command, c Loaded[C]) error {
		err := daemon.AskReady(cmd.Context(), p.Admin(c.Config).Listen)
		if err != nil && p.ErrorPrefix == "" { // then the program's own errors begin with its name
			return fmt.Errorf("%s: %w", p.Name, err)
		}
		return err
	})
}

func (p Program[C]) version() *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "Print the version",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			_, err := fmt.Fprintln(cmd.OutOrStdout(), p.Name, p.Version)
			return err
		},
	}
}

// configured returns a command that takes every setting as a flag, and reads the configuration
// first.
func (p Program[C]) configured(use, short string,
	run func(*cobra.Command, Loaded[C]) error) *cobra.Command {
	cmd := &cobra.Command{Use: use, Short: short, Args: cobra.NoArgs}
	file := cmd.Flags().String("config", "", p.FileUsage)
	defaults := p.Defaults()
	config.BindFlags(cmd.Flags(), &defaults)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if *file == "" && p.Required != "" {
			return fmt.Errorf("expected a configuration file: write --config %s", p.Required)
		}
		c := Loaded[C]{File: *file}
		o := config.Options{File: *file, EnvPrefix: envPrefix, Flags: cmd.Flags()}
		c.Read = func(content []byte) (*C, error) {
			again := o
			again.Content = content
			return p.load(again)
		}
		// Read warns of nothing: what it reads again has been warned of here.
		first := o
		first.Warn = func(w *config.Problem) { c.warnings = append(c.warnings, w) }
		var err error
		if c.Config, err = p.load(first); err != nil {
			return err
		}
		return run(cmd, c)
	}
	return cmd
}

func (p Program[C]) load(o config.Options) (*C, error) {
	if p.Load != nil {
		return p.Load(o)
	}
	c := p.Defaults()
	if err := config.Load(&c, o); err != nil {
		return nil, err
	}
	return &c, nil
}
