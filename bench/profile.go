package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
)

// profile has a process's processor time of one second from now on written to a file, if the run
// keeps profiles; admin is the URL of its admin port. It returns what waits for that. go tool pprof
// merges the files of several rounds.
func (b *bench) profile(ctx context.Context, admin, name string) func() error {
	if b.profiles == "" {
		return func() error { return nil }
	}
	b.profiled++
	file := filepath.Join(b.profiles, fmt.Sprintf("%s-%03d.pprof", name, b.profiled))
	kept := make(chan error, 1)
	go func() { kept <- save(ctx, admin+"/debug/pprof/profile?seconds=1", file) }()
	return func() error { return <-kept }
}

// save writes what a URL answers to a file.
func save(ctx context.Context, url, file string) error {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return fmt.Errorf("bench: %w", err)
	}
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		return fmt.Errorf("bench: %w", err)
	}
	defer answer.Body.Close()
	content, err := io.ReadAll(answer.Body)
	switch {
	case err != nil:
		return fmt.Errorf("bench: %s: %w", url, err)
	case answer.StatusCode != http.StatusOK:
		return fmt.Errorf("bench: %s answered %s: %s", url, answer.Status, content)
	}
	return os.WriteFile(file, content, 0o600)
}
