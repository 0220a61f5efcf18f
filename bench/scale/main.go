// Command scale finds out how many gates one Redis carries: simulated gates, which ask what real
// ones ask, beside a few real ones, while sessions are revoked at a rate. It prints a line for each
// number of gates: what Redis had to do, how long after its acknowledgement a revocation was in
// force, how old the gates' confirmations were, and how long after all had lost their connections
// all were fresh again.
//
//	go run ./scale -gates 100,1000 -rate 100
//	go run ./scale -gates 1000 -relays 10 -rate 100
//
// Everything listens on Unix sockets, or on loopback, and ends with the run.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

type options struct {
	gates   []int
	relays  int
	rate    int
	probes  int
	seconds int
	relay   string // the relay's program
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// The longest that a part of a run may take: all gates connecting, and being fresh again.
const longest = time.Minute

func run(ctx context.Context) error {
	gates := flag.String("gates", "100,300,1000", "numbers of gates, one run for each")
	var o options
	flag.IntVar(&o.relays, "relays", 0, "relays between the gates and Redis; 0 for none")
	flag.IntVar(&o.rate, "rate", 100, "revocations a second")
	flag.IntVar(&o.probes, "probes", 2, "how many of the gates are real ones, which are asked whether a revocation is in force")
	flag.IntVar(&o.seconds, "seconds", 10, "how long to revoke, in each run")
	flag.Parse()
	for text := range strings.SplitSeq(*gates, ",") {
		n, err := strconv.Atoi(text)
		if err != nil || n <= o.probes {
			return fmt.Errorf("scale: expected numbers above that of probes in -gates, got %q", text)
		}
		o.gates = append(o.gates, n)
	}
	if o.rate < 1 || o.rate > 100_000 || o.seconds < 1 || o.seconds > 120 || o.probes < 1 {
		return errors.New("scale: expected a rate of 1 to 100000, 1 to 120 seconds and a probe")
	}
	if err := enoughFiles(o.gates); err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "scale")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	if o.relays > 0 {
		if o.relay, err = buildRelay(ctx, dir); err != nil {
			return fmt.Errorf("scale: building the relay: %w", err)
		}
	}
	fmt.Println(heading)
	for k, n := range o.gates {
		folder := filepath.Join(dir, strconv.Itoa(k))
		if err := os.Mkdir(folder, 0o700); err != nil {
			return err
		}
		// Nothing outlives its time, whatever becomes of Redis.
		bounded, cancel := context.WithTimeout(ctx, 3*longest+2*time.Duration(o.seconds)*time.Second)
		f, err := measure(bounded, o, n, folder)
		cancel()
		if err != nil {
			return fmt.Errorf("scale: %d gates: %w", n, err)
		}
		fmt.Println(f)
	}
	return nil
}

// buildRelay builds the relay's program in the module that has it, and returns its path.
func buildRelay(ctx context.Context, dir string) (string, error) {
	const module = "github.com/sallyport/sallyport"
	root, err := exec.CommandContext(ctx, "go", "list", "-m", "-f", "{{.Dir}}", module).Output()
	if err != nil {
		return "", err
	}
	program := filepath.Join(dir, "relay")
	build := exec.CommandContext(ctx, "go", "build", "-o", program, "./cmd/relay")
	build.Dir, build.Stderr = strings.TrimSpace(string(root)), os.Stderr
	return program, build.Run()
}

// enoughFiles checks the limit of open files, of which each gate needs two here, and two in Redis
// without relays.
func enoughFiles(gates []int) error {
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		return err
	}
	for _, n := range gates {
		if need := uint64(2*n + 200); need > limit.Cur {
			return fmt.Errorf("scale: %d gates need %d open files, and the limit is %d: see ulimit -n",
				n, need, limit.Cur)
		}
	}
	return nil
}
