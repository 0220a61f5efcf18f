package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/sallyport/sallyport/bench/figure"
)

// goTest runs a benchmark, or a test that tells figures, of the product's own, on all cores, and
// returns what it prints.
func (b *bench) goTest(ctx context.Context, args ...string) (string, error) {
	args = append([]string{"-c", b.cores.All.String(), "go", "test", "-count=1"}, args...)
	cmd := exec.CommandContext(ctx, "taskset", args...)
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) } // go test ends what it runs
	cmd.WaitDelay = 10 * time.Second
	cmd.Dir = b.root
	out, err := cmd.CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("bench: go %s: %w\n%s", strings.Join(args[3:], " "), err, out)
	}
	return string(out), nil
}

// figureIn returns the one number that a pattern finds in an output: the first group of it.
func figureIn(output, pattern string) (string, error) {
	found := regexp.MustCompile(pattern).FindAllStringSubmatch(output, -1)
	if len(found) != 1 {
		return "", fmt.Errorf("bench: expected %s once in\n%s", pattern, output)
	}
	return found[0][1], nil
}

// lookUps measures look-ups among ten million revocations, in memory that no cache holds.
func (b *bench) lookUps(ctx context.Context) error {
	out, err := b.goTest(ctx, "./internal/revocation/liveset", "-run", "^$", "-bench", "TenMillion")
	if err != nil {
		return err
	}
	return b.lookUpRows(out)
}

func (b *bench) lookUpRows(out string) error {
	for _, kind := range []string{"absent", "present"} {
		text, err := figureIn(out, `BenchmarkTenMillion/`+kind+`\S*\s+\d+\s+([0-9.]+) ns/op`)
		if err != nil {
			return err
		}
		ns, err := strconv.ParseFloat(text, 64)
		if err != nil {
			return fmt.Errorf("bench: %w", err)
		}
		b.row("The set of live revocations", "a look-up among 10,000,000, "+kind, "ns",
			figure.Samples{ns}, figure.AtMost(300))
	}
	return nil
}

// streams measures how long after a logout's acknowledgement the last of ten thousand streams
// through Envoy with a gate inside has ended.
func (b *bench) streams(ctx context.Context) error {
	out, err := b.goTest(ctx, "./e2e", "-run", "^TestManyStreamsEndWithTheirToken$", "-v", "-streams",
		"10000")
	if err != nil {
		return err
	}
	return b.streamRows(out)
}

func (b *bench) streamRows(out string) error {
	text, err := figureIn(out, `the last of 10000 streams had ended (\S+) after the acknowledgement`)
	if err != nil {
		return err
	}
	after, err := time.ParseDuration(text)
	if err != nil {
		return fmt.Errorf("bench: %w", err)
	}
	b.row("Streams that end with their token", "the last of 10,000, after the acknowledgement", "ms",
		figure.Samples{float64(after) / 1e6}, figure.AtMost(500))
	return nil
}
