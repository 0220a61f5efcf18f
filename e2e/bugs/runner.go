package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"
)

// workshop is a folder with the files that bugs are put into and the test binaries built of them.
type workshop struct {
	root string // of the module
	dir  string
}

func open() (*workshop, error) {
	root, err := os.Getwd()
	if err != nil {
		return nil, fmt.Errorf("bugs: %w", err)
	}
	dir, err := os.MkdirTemp("", "sallyport-bugs-")
	if err != nil {
		return nil, fmt.Errorf("bugs: %w", err)
	}
	return &workshop{root, dir}, nil
}

func (w *workshop) remove() { _ = os.RemoveAll(w.dir) } // in the temporary folder

// apply returns the files of a row by their paths in the module, each with its rules broken. A rule
// that does not stand in its file exactly once is an error: the row speaks of another program.
func (r *row) apply(root string) (map[string]string, error) {
	files := map[string]string{}
	for _, e := range r.edits {
		// A second edit of one file is made in what the first one left.
		text, ok := files[e.file]
		if !ok {
			raw, err := os.ReadFile(filepath.Join(root, e.file))
			if err != nil {
				return nil, fmt.Errorf("bugs: %s: %w", r.bug, err)
			}
			text = string(raw)
		}
		if n := strings.Count(text, e.rule); n != 1 {
			return nil, fmt.Errorf("bugs: %s: expected the rule once in %s, got it %d times:\n%s",
				r.bug, e.file, n, e.rule)
		}
		files[e.file] = strings.Replace(text, e.rule, e.bug, 1)
	}
	return files, nil
}

// overlay writes the files of a row and what tells the go command of them; "" without a row.
func (w *workshop) overlay(r *row) (string, error) {
	if r == nil {
		return "", nil
	}
	files, err := r.apply(w.root)
	if err != nil {
		return "", err
	}
	replace := map[string]string{}
	for path, text := range files {
		written := filepath.Join(w.dir, r.bug+"-"+strings.ReplaceAll(path, "/", "-"))
		if err := os.WriteFile(written, []byte(text), 0o600); err != nil {
			return "", fmt.Errorf("bugs: %w", err)
		}
		replace[filepath.Join(w.root, path)] = written
	}
	list, err := json.Marshal(map[string]any{"Replace": replace})
	if err != nil {
		return "", fmt.Errorf("bugs: %w", err)
	}
	file := filepath.Join(w.dir, r.bug+".json")
	if err := os.WriteFile(file, list, 0o600); err != nil {
		return "", fmt.Errorf("bugs: %w", err)
	}
	return file, nil
}

// build builds the tests of a package, with the bug of a row or with none.
func (w *workshop) build(ctx context.Context, pkg string, r *row) (binary string, err error) {
	overlay, err := w.overlay(r)
	if err != nil {
		return "", err
	}
	name := "none"
	args := []string{"test", "-c"}
	if r != nil {
		name = r.bug
		args = append(args, "-overlay", overlay)
	}
	binary = filepath.Join(w.dir, name+"-"+strings.ReplaceAll(pkg, "/", "-")+".test")
	cmd := exec.CommandContext(ctx, "go", append(args, "-o", binary, "./"+pkg)...)
	cmd.Dir = w.root
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("bugs: building the tests of %s with the bug %s: %w\n%s",
			pkg, name, err, out)
	}
	return binary, nil
}

// catchers returns all that rows name, each once.
func catchers(rows []row) (all []catcher) {
	for _, r := range rows {
		for _, c := range r.catchers {
			if !slices.Contains(all, c) {
				all = append(all, c)
			}
		}
	}
	return all
}

func (c catcher) String() string { return filepath.Base(c.pkg) + " " + c.test }

// outcome is one run of a test.
type outcome struct {
	passed, failed bool // neither: it did not come to an end as a test does
	why            string
	output         string
}

// longest is how long one test may take: the tests' own deadlines end before.
const longest = 2 * time.Minute

// run runs one test of a binary.
func (c catcher) run(ctx context.Context, binary, root string) outcome {
	ctx, cancel := context.WithTimeout(ctx, longest)
	defer cancel()
	parts := strings.Split(c.test, "/")
	for i, p := range parts {
		parts[i] = "^" + p
	}
	parts[0] += "$"
	cmd := exec.CommandContext(ctx, binary,
		"-test.run", strings.Join(parts, "/"), "-test.v", "-test.failfast")
	cmd.Dir = filepath.Join(root, c.pkg)
	out, err := cmd.CombinedOutput()
	text, name := string(out), strings.Split(c.test, "/")[0]
	o := outcome{output: text}
	// Only the test's own verdict counts: a binary that crashed or ran no test has caught nothing.
	var exit *exec.ExitError
	switch {
	case ctx.Err() != nil:
		o.why = "it did not end in time"
	case strings.Contains(text, "--- FAIL: "+name+" (") && errors.As(err, &exit):
		o.failed, o.why = true, "it failed"
	case strings.Contains(text, "--- PASS: "+name+" (") && err == nil:
		o.passed = true
	default:
		o.why = fmt.Sprintf("it neither passed nor failed: %v", err)
	}
	return o
}

// result is what became of one bug.
type result struct {
	row  row
	by   []string // the tests that caught it
	why  string   // why none did
	took time.Duration
}

// try builds a bug and runs the tests that are to catch it until one does.
func (w *workshop) try(ctx context.Context, r row, all bool) result {
	began, res := time.Now(), result{row: r}
	binaries := map[string]string{}
	for _, c := range r.catchers {
		if binaries[c.pkg] == "" {
			binary, err := w.build(ctx, c.pkg, &r)
			if err != nil {
				res.why = err.Error()
				break
			}
			binaries[c.pkg] = binary
		}
		o := c.run(ctx, binaries[c.pkg], w.root)
		switch {
		case o.failed:
			res.by = append(res.by, c.String())
		case o.passed:
			res.why = c.String() + " passes"
		default:
			res.why = c.String() + ": " + o.why
		}
		if len(res.by) > 0 && !all {
			break
		}
	}
	for _, binary := range binaries { // dozens of them would fill a small disk
		_ = os.Remove(binary)
	}
	res.took = time.Since(began)
	return res
}

// each calls f with 0 to n-1, so many at a time.
func each(jobs, n int, f func(int)) {
	var wg sync.WaitGroup
	slots := make(chan struct{}, max(jobs, 1))
	for i := range n {
		slots <- struct{}{}
		wg.Go(func() {
			defer func() { <-slots }()
			f(i)
		})
	}
	wg.Wait()
}
