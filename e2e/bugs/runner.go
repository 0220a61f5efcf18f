package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/sallyport/sallyport/internal/seeded"
)

// The two sides of a program with seeded bugs: the variable it reads, and what it says once it comes to the bug.
const (
	variable = "SALLYPORT_SEEDED_BUG"
	atWork   = "seeded bug at work: "
)

// built are test binaries with the seeded bugs in them, one for each package.
type built struct {
	dir      string
	binaries map[string]string
}

func build(ctx context.Context, rows []row) (*built, error) {
	dir, err := os.MkdirTemp("", "sallyport-bugs-")
	if err != nil {
		return nil, fmt.Errorf("bugs: %w", err)
	}
	b := &built{dir, map[string]string{}}
	for _, c := range catchers(rows) {
		if b.binaries[c.pkg] != "" {
			continue
		}
		b.binaries[c.pkg] = filepath.Join(dir, strings.ReplaceAll(c.pkg, "/", "-")+".test")
		cmd := exec.CommandContext(ctx, "go", "test", "-c", "-tags", "seededbugs", "-o", b.binaries[c.pkg], "./"+c.pkg)
		if out, err := cmd.CombinedOutput(); err != nil {
			b.remove()
			return nil, fmt.Errorf("bugs: building the tests of %s: %w\n%s", c.pkg, err, out)
		}
	}
	return b, nil
}

func (b *built) remove() { _ = os.RemoveAll(b.dir) } // in the temporary folder

// catchers are all that rows name, each once.
func catchers(rows []row) (found []catcher) {
	for _, r := range rows {
		for _, c := range r.catchers {
			if !slices.Contains(found, c) {
				found = append(found, c)
			}
		}
	}
	return found
}

func (c catcher) String() string { return filepath.Base(c.pkg) + " " + c.test }

// outcome is one run of a test.
type outcome struct {
	passed, failed bool // neither: it did not come to an end as a test does
	met            bool // the program has come to the bug
	why            string
	output         string
}

// longest is how long one test may take: the tests' own deadlines end before.
const longest = 2 * time.Minute

// test runs one test with a bug, or with none.
func (b *built) test(ctx context.Context, c catcher, bug seeded.Bug) outcome {
	ctx, cancel := context.WithTimeout(ctx, longest)
	defer cancel()
	parts := strings.Split(c.test, "/")
	for i, p := range parts {
		parts[i] = "^" + p
	}
	parts[0] += "$"
	cmd := exec.CommandContext(ctx, b.binaries[c.pkg], "-test.run", strings.Join(parts, "/"), "-test.v", "-test.failfast")
	cmd.Dir = c.pkg
	cmd.Env = append(os.Environ(), variable+"="+string(bug))
	out, err := cmd.CombinedOutput()
	text, name := string(out), strings.Split(c.test, "/")[0]
	o := outcome{met: strings.Contains(text, atWork+string(bug)+"\n"), output: text}
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

// try runs the tests that are to catch a bug until one does.
func (b *built) try(ctx context.Context, r row, all bool) result {
	began, res := time.Now(), result{row: r}
	for _, c := range r.catchers {
		o := b.test(ctx, c, r.bug)
		switch {
		case o.failed && o.met:
			res.by = append(res.by, c.String())
		case !o.met:
			res.why = c.String() + " never came to it"
		case o.passed:
			res.why = c.String() + " passes"
		default:
			res.why = c.String() + ": " + o.why
		}
		if len(res.by) > 0 && !all {
			break
		}
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
