package main

import (
	"encoding/json"
	"io"
	"strings"
	"time"
	"unicode"
)

// The exit status beside 0, all is well, and 1, an error:
// what was asked for is done or known, and not every process is as it should be
const statusNotEverywhere = 2

// exitError is an error with an exit status of its own.
type exitError struct {
	error
	status int
}

func (e exitError) Unwrap() error { return e.error }

// printable replaces what could control a terminal in a text from elsewhere: gates choose their
// names, and tokens what they hold.
func printable(text string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) {
			return r
		}
		return '\uFFFD'
	}, text)
}

func printJSON(out io.Writer, v any) error {
	e := json.NewEncoder(out)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	return e.Encode(v)
}

// orDash is a cell of a table: an empty one would be overlooked.
func orDash(text string) string {
	if text == "" {
		return "-"
	}
	return printable(text)
}

// ago returns an age in seconds, rounded so that it is read at a glance.
func ago(seconds *float64) string {
	if seconds == nil {
		return "-"
	}
	d := time.Duration(*seconds * float64(time.Second))
	switch {
	case d < 10*time.Second:
		return d.Round(100 * time.Millisecond).String()
	case d < time.Hour:
		return d.Round(time.Second).String()
	}
	return strings.TrimSuffix(d.Round(time.Minute).String(), "0s")
}
