package e2e_test

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/sallyport/sallyport/internal/meshtest"
)

// TestTheTutorialIsTrue executes every command line of docs/tutorial.md in one shell, in a copy of
// the source, and holds what the page says of their output against it. The copy has other ports, so
// that nothing on this machine is in its way.
func TestTheTutorialIsTrue(t *testing.T) {
	meshtest.Envoy(t)
	meshtest.RedisServer(t)
	source := sourceCopy(t)
	ports := movePorts(t, source)
	page, err := os.ReadFile(filepath.Join(source, "docs/tutorial.md"))
	if err != nil {
		t.Fatal(err)
	}
	blocks := pageBlocks(t, string(page))

	var script strings.Builder
	script.WriteString("set -euo pipefail\ntrap 'kill $(jobs -p) 2>/dev/null || :' EXIT\n")
	for i, b := range blocks {
		fmt.Fprintf(&script, "echo '%s'\n%s", blockBegins(i), b.commands)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 4*time.Minute)
	defer cancel()
	shell := exec.CommandContext(ctx, "bash", "-c", script.String())
	shell.Dir = source
	var stdout, stderr bytes.Buffer
	shell.Stdout, shell.Stderr = &stdout, &stderr
	shell.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	shell.Cancel = func() error { return syscall.Kill(-shell.Process.Pid, syscall.SIGKILL) }
	if err := shell.Run(); err != nil {
		t.Errorf("the page's commands: %v\n%s\n%s", err, lastBytes(stdout.String()),
			lastBytes(stderr.String()))
		for _, name := range []string{
			"redis.log", "issuer.log", "authz.log", "service.log", "envoy.log",
		} {
			if log, err := os.ReadFile(filepath.Join(source, "mine", name)); err == nil {
				t.Logf("%s: %s", name, lastBytes(string(log)))
			}
		}
	}
	for i, b := range blocks {
		_, said, _ := strings.Cut(stdout.String(), blockBegins(i)+"\n")
		said, _, _ = strings.Cut(said, blockBegins(i+1)+"\n")
		for _, line := range b.says {
			if !line.MatchString(said) {
				t.Errorf("the page says that this prints %s\n%s\nand it printed:\n%s", line, b.commands, said)
			}
		}
	}
	for _, port := range ports {
		if c, err := net.Dial("tcp", "127.0.0.1:"+port); err == nil {
			c.Close()
			t.Errorf("port %s is still taken after the page's last block", port)
		}
	}
}

func blockBegins(i int) string { return fmt.Sprintf("-- block %d of the tutorial --", i) }

func lastBytes(s string) string { return s[max(0, len(s)-2000):] }

// block is what a reader pastes, and the lines that the page says it prints.
type block struct {
	commands string
	says     []*regexp.Regexp
}

// pageBlocks returns the blocks of a page: those marked sh are commands, one marked text is what
// the commands before it print.
func pageBlocks(t *testing.T, page string) []block {
	t.Helper()
	var blocks []block
	fenced := regexp.MustCompile("(?ms)^```(\\w*)\n(.*?)^```$")
	for _, m := range fenced.FindAllStringSubmatch(page, -1) {
		switch {
		case m[1] == "sh":
			blocks = append(blocks, block{commands: m[2]})
		case m[1] == "text" && len(blocks) > 0:
			last := &blocks[len(blocks)-1]
			for line := range strings.Lines(m[2]) {
				expression := strings.ReplaceAll(
					regexp.QuoteMeta(strings.TrimRight(line, "\n")),
					`\.\.\.`,
					".*",
				)
				last.says = append(last.says, regexp.MustCompile("(?m)^"+expression+"$"))
			}
		default:
			t.Fatalf("a block marked %q: expected sh, or text after one", m[1])
		}
	}
	if len(blocks) < 8 {
		t.Fatalf("only %d blocks of commands", len(blocks))
	}
	prose := regexp.MustCompile("(?ms)^```.*?^```$").ReplaceAllString(page, "")
	if regexp.MustCompile(`(?m)^    \S`).MatchString(prose) {
		t.Fatal("the page has an indented block, which nobody walks: mark it sh or text")
	}
	return blocks
}

// sourceCopy copies the source as git has it into a folder of the test's own. What `make envoy` has
// fetched is taken as it is.
func sourceCopy(t *testing.T) string {
	t.Helper()
	root := meshtest.Root(t)
	dir := t.TempDir()
	list := exec.CommandContext(t.Context(), "git", "ls-files", "-z", "--cached", "--others",
		"--exclude-standard")
	list.Dir = root
	names, err := list.Output()
	if err != nil {
		t.Fatalf("git ls-files: %v", err)
	}
	for name := range strings.SplitSeq(strings.TrimRight(string(names), "\x00"), "\x00") {
		content, err := os.ReadFile(filepath.Join(root, name))
		if errors.Is(err, fs.ErrNotExist) {
			continue // deleted, and not yet from git
		}
		if err != nil {
			t.Fatal(err)
		}
		info, err := os.Stat(filepath.Join(root, name))
		if err != nil {
			t.Fatal(err)
		}
		if err := os.MkdirAll(filepath.Join(dir, filepath.Dir(name)), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name), content, info.Mode().Perm()); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Mkdir(filepath.Join(dir, ".tools"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(filepath.Join(root, ".tools/venv"),
		filepath.Join(dir, ".tools/venv")); err != nil {
		t.Fatal(err)
	}
	return dir
}

// anyPort is a number that may be a port.
var anyPort = regexp.MustCompile(`\b\d{4,5}\b`)

// movePorts replaces the ports that the page says have to be free by ones that are, in the page and
// in the shipped settings.
func movePorts(t *testing.T, source string) []string {
	t.Helper()
	page, err := os.ReadFile(filepath.Join(source, "docs/tutorial.md"))
	if err != nil {
		t.Fatal(err)
	}
	_, sentence, ok := strings.Cut(string(page), "These ports have to be free")
	sentence, _, ok2 := strings.Cut(sentence, "\n\n")
	if !ok || !ok2 {
		t.Fatal("the page does not say which ports have to be free")
	}
	moved := map[string]string{}
	var free []string
	var listeners []net.Listener
	for _, port := range anyPort.FindAllString(sentence, -1) {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		listeners = append(listeners, l)
		if _, moved[port], err = net.SplitHostPort(l.Addr().String()); err != nil {
			t.Fatal(err)
		}
		free = append(free, moved[port])
	}
	if len(free) != 9 {
		t.Errorf("the page names %d ports, expected nine", len(free))
	}
	for name, where := range map[string]*regexp.Regexp{
		"docs/tutorial.md":         anyPort,
		"deploy/config/envoy.yaml": regexp.MustCompile(`port_value: \d+`),
	} {
		path := filepath.Join(source, name)
		content, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		text := where.ReplaceAllStringFunc(string(content), func(found string) string {
			return anyPort.ReplaceAllStringFunc(found, func(port string) string {
				if moved[port] == "" && where != anyPort {
					t.Errorf("%s has port %s, which the page does not name", name, port)
				}
				return cmp.Or(moved[port], port)
			})
		})
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for _, l := range listeners {
		l.Close()
	}
	return free
}
