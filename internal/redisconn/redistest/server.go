package redistest

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"
	"time"
)

// Server is a redis-server, or a sentinel, on a port of its own that it keeps when it is started
// again.
type Server struct {
	Port int
	Dir  string // where its files are kept from one start to the next

	t   testing.TB
	cmd *exec.Cmd
}

// NewServer finds a free port; nothing runs yet.
func NewServer(t testing.TB) *Server {
	t.Helper()
	s := &Server{t: t, Dir: t.TempDir()}
	for s.Port == 0 || s.Port > 50000 { // a cluster's bus is 10000 above
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		s.Port = l.Addr().(*net.TCPAddr).Port
		_ = l.Close() // it was only asked for its number
	}
	t.Cleanup(s.Stop)
	return s
}

// Address is where it listens.
func (s *Server) Address() string { return "127.0.0.1:" + strconv.Itoa(s.Port) }

// Start runs it until Stop, or the test's end, and waits until it listens. It stores like a server
// in production.
func (s *Server) Start(args ...string) {
	s.t.Helper()
	binary, err := exec.LookPath("redis-server")
	if err != nil {
		s.t.Fatal("redis-server is missing: install it (Debian: apt install redis-server)")
	}
	all := append(args, "--dir", s.Dir, "--bind", "127.0.0.1", "--save", "", "--appendonly",
		"yes", "--appendfsync", "always", "--logfile", filepath.Join(s.Dir, "log"))
	s.run(exec.Command(binary, all...))
}

// StartSentinel runs it as a sentinel with a configuration of its own.
func (s *Server) StartSentinel(config string) {
	s.t.Helper()
	file := filepath.Join(s.Dir, "sentinel.conf")
	text := fmt.Sprintf("port %d\nbind 127.0.0.1\ndir %s\nlogfile %s\n%s", s.Port, s.Dir,
		filepath.Join(s.Dir, "log"), config)
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		s.t.Fatal(err)
	}
	s.run(exec.Command("redis-server", file, "--sentinel"))
}

func (s *Server) run(cmd *exec.Cmd) {
	s.t.Helper()
	if err := cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
	s.cmd = cmd
	for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		c, err := net.Dial("tcp", s.Address())
		if err == nil {
			_ = c.Close() // it listens
			return
		}
		if time.Now().After(deadline) {
			log, _ := os.ReadFile(filepath.Join(s.Dir, "log")) // only for the message
			s.t.Fatalf("redis-server does not listen on %s: %v\n%s", s.Address(), err, log)
		}
	}
}

// StartTLS is Start with TLS alone, its files being those of a pair and the authority that clients
// must have.
func (s *Server) StartTLS(certificate, key, authority string, args ...string) {
	s.t.Helper()
	s.Start(append([]string{
		"--port", "0", "--tls-port", strconv.Itoa(s.Port), "--tls-cert-file", certificate,
		"--tls-key-file", key, "--tls-ca-cert-file", authority,
	}, args...)...)
}

// StartPlain is Start without TLS.
func (s *Server) StartPlain(args ...string) {
	s.t.Helper()
	s.Start(append([]string{"--port", strconv.Itoa(s.Port)}, args...)...)
}

// Stop kills it, which cuts every connection, and waits until it is gone.
func (s *Server) Stop() {
	if s.cmd == nil {
		return
	}
	_ = s.cmd.Process.Kill() // it may be gone already
	_ = s.cmd.Wait()         // killed: its status says so and nothing else
	s.cmd = nil
}
