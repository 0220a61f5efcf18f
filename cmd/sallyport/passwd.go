package main

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/sallyport/sallyport/internal/credential"
	"github.com/sallyport/sallyport/internal/ownfile"
)

func newPasswd() *cobra.Command {
	var (
		file  string
		roles []string
		now   bool
		why   order
		wait  time.Duration
		admin adminFlags
	)
	cmd := &cobra.Command{
		Use:   "passwd [--file users.yaml NAME]",
		Short: "Hash a password, or set a user's in a users file",
		Long: `Reads a password, twice and without echo from a terminal, or as one line from a pipe.

Without --file it prints the password's argon2id hash. With --file it sets the password of
the user NAME in that users file, adding the user when there is none of that name; the rest
of the file, comments included, stays as it is. Issuers that read the file end the sessions
that the user began before, and their access tokens, within about a second; with --now this
command has an issuer end them, and waits for the gates.`,
		Example: `  sallyport passwd
  sallyport passwd --file users.yaml alice
  sallyport passwd --file users.yaml --role admin --role ops carol`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if (file != "") != (len(args) == 1) {
				return errors.New("expected a user's name and --file, or neither")
			}
			if file == "" && len(roles) > 0 {
				return errors.New("--role belongs to a user: it needs --file and a name")
			}
			var api *adminClient
			if now && file == "" || wait < 0 {
				return errors.New("--now belongs to a user: it needs --file and a name, and --wait as a " +
					"time of 0 or more")
			} else if now { // a token that is not there must not be found out after the change
				var err error
				if api, err = admin.open(); err != nil {
					return err
				}
				if err := why.check(); err != nil {
					return err
				}
			}
			password, err := readPassword(cmd.InOrStdin(), cmd.ErrOrStderr())
			if err != nil {
				return err
			}
			if err := credential.CheckNew(string(password)); err != nil {
				return err
			}
			hash, err := credential.Hash(password, credential.DefaultParams())
			if err != nil {
				return err
			}
			if file == "" {
				_, err = fmt.Fprintln(cmd.OutOrStdout(), hash)
				return err
			}
			done, err := setPassword(file, args[0], hash, roles)
			if err != nil {
				return err
			}
			if _, err = fmt.Fprintln(cmd.ErrOrStderr(), done); err != nil || api == nil {
				return err
			}
			ctx, stop := untilSignal(cmd.Context())
			defer stop()
			return endNow(ctx, cmd.ErrOrStderr(), api, args[0], wait, &why)
		},
	}
	cmd.Flags().StringVar(&file, "file", "", "users file to change")
	cmd.Flags().StringArrayVar(&roles, "role", nil, "role of a new user; may be repeated")
	cmd.Flags().BoolVar(&now, "now", false,
		"have an issuer end the user's sessions, and wait for the gates")
	cmd.Flags().DurationVar(&wait, "wait", 2*time.Second,
		"with --now: how long to wait for the gates to have applied it; 0: not at all")
	admin.bind(cmd.Flags())
	why.bind(cmd.Flags(), "password_changed")
	return cmd
}

// maxPasswordLine bounds what is read from a pipe.
const maxPasswordLine = 64 << 10

// readPassword asks on a terminal, and reads one line from anything else.
func readPassword(in io.Reader, prompt io.Writer) ([]byte, error) {
	if f, ok := in.(*os.File); ok && term.IsTerminal(int(f.Fd())) {
		return askPassword(int(f.Fd()), prompt)
	}
	line, err := bufio.NewReader(io.LimitReader(in, maxPasswordLine+1)).ReadBytes('\n')
	if err != nil && err != io.EOF {
		return nil, fmt.Errorf("read the password: %w", err)
	}
	if len(line) > maxPasswordLine {
		return nil, fmt.Errorf("expected a password on one line, got more than %d bytes", maxPasswordLine)
	}
	line = ownfile.Secret(line)
	return line, notEmpty(line)
}

// askPassword asks twice, without echo.
func askPassword(terminal int, prompt io.Writer) ([]byte, error) {
	ask := func(text string) ([]byte, error) {
		fmt.Fprint(prompt, text)
		line, err := term.ReadPassword(terminal)
		fmt.Fprintln(prompt)
		if err != nil {
			return nil, fmt.Errorf("read the password: %w", err)
		}
		return line, nil
	}
	// Twice, since nobody sees what they type.
	first, err := ask("Password: ")
	if err == nil {
		err = notEmpty(first)
	}
	if err != nil {
		return nil, err
	}
	second, err := ask("Once more: ")
	if err != nil {
		return nil, err
	}
	if !bytes.Equal(first, second) {
		return nil, errors.New("the two passwords differ")
	}
	return first, nil
}

func notEmpty(password []byte) error {
	if len(password) == 0 {
		return errors.New("expected a password, got nothing")
	}
	return nil
}
