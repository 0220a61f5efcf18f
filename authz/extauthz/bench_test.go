package extauthz

import (
	"bufio"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"google.golang.org/protobuf/proto"
)

// What BenchmarkServers measures.
var (
	kinds = flag.String("servers", "gate,all,new,revoked,forged,gc-100",
		"the kinds of servers that are measured beside the stock one")
	before = flag.String("before", "",
		"another build of these tests, whose gate with strip: all is measured too: go test -c at "+
			"another commit")
)

// process is a server that is measured, and what loads it.
type process struct {
	measured
	name   string
	pid    int
	checks int       // a round
	rounds []float64 // microseconds of its processor for a check, one a round
}

// startProcess runs a build of these tests as a server, until the test ends.
func startProcess(b *testing.B, name, binary, kind string) *process {
	b.Helper()
	cmd := exec.Command(binary)
	cmd.Env = append(os.Environ(), measuredVariable+"="+kind, "GOMAXPROCS=1")
	cmd.Stderr = os.Stderr
	stdin, err := cmd.StdinPipe()
	stdout, err2 := cmd.StdoutPipe()
	if err := errors.Join(err, err2); err != nil {
		b.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		if err := errors.Join(stdin.Close(), cmd.Wait()); err != nil {
			b.Error(err)
		}
	})
	p := &process{name: name, pid: cmd.Process.Pid, checks: checksARound}
	if kind == kindNew || kind == kindForged {
		p.checks = verifiedARound
	}
	if err := json.NewDecoder(bufio.NewReader(stdout)).Decode(&p.measured); err != nil {
		b.Fatal(err)
	}
	return p
}

// load sends n checks over a connection of their own: one that is idle while others are measured
// would be closed.
func (p *process) load(b *testing.B, n int) {
	b.Helper()
	l := newLoader(b, p.Address, p.Requests...)
	if err := errors.Join(l.run(n), l.conn.Close()); err != nil {
		b.Fatalf("%s: %v", p.name, err)
	}
	var first authv3.CheckResponse
	if err := proto.Unmarshal(l.first[5:], &first); err != nil { // behind gRPC's own five bytes
		b.Fatalf("%s: %v", p.name, err)
	}
	refused := p.name == kindRevoked || p.name == kindForged
	if (first.GetStatus().GetCode() != 0) != refused || first.GetHttpResponse() == nil {
		b.Fatalf("%s: answers %v", p.name, &first)
	}
}

// cpu returns the processor time of a process, in microseconds. Linux counts it in hundredths of a
// second.
func (p *process) cpu(b *testing.B) float64 {
	b.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", p.pid))
	if err != nil {
		b.Fatal(err)
	}
	_, after, _ := strings.Cut(string(text), ") ")
	fields := strings.Fields(after)
	user, err := strconv.Atoi(fields[11])
	system, err2 := strconv.Atoi(fields[12])
	if err := errors.Join(err, err2); err != nil {
		b.Fatal(err)
	}
	return float64(user+system) * 1e4
}

// A round takes about as long for a server that verifies a signature for each check.
const (
	checksARound   = 20_000
	verifiedARound = 5_000
)

// BenchmarkServers measures servers in processes of their own, one round of each after the other,
// and reports the median of a server's rounds and its share of the stock server's. One operation is
// a round of all.
func BenchmarkServers(b *testing.B) {
	self, err := os.Executable()
	if err != nil {
		b.Fatal(err)
	}
	servers := []*process{startProcess(b, kindStock, self, kindStock)}
	for kind := range strings.SplitSeq(*kinds, ",") {
		servers = append(servers, startProcess(b, kind, self, kind))
	}
	if *before != "" {
		servers = append(servers, startProcess(b, "before", *before, kindAll))
	}
	for _, p := range servers {
		p.load(b, verifiedARound)
	}
	var bare []float64
	verify := bareVerify(b)
	b.ResetTimer()
	for range b.N {
		begin := cpu(b)
		for range verifiedARound {
			verify()
		}
		bare = append(bare, (cpu(b)-begin)/verifiedARound)
		for _, p := range servers {
			begin := p.cpu(b)
			p.load(b, p.checks)
			p.rounds = append(p.rounds, (p.cpu(b)-begin)/float64(p.checks))
		}
	}
	stock := median(servers[0].rounds)
	for _, p := range servers {
		b.ReportMetric(median(p.rounds), p.name+"-us")
		b.ReportMetric(median(p.rounds)/stock, p.name+"/stock")
		if p.name == kindNew {
			b.ReportMetric(median(p.rounds)/median(bare), "new/bare")
		}
	}
	b.ReportMetric(median(bare), "bare-us")
}

// bareVerify returns what checks one ES256 signature of a digest, and does nothing else.
func bareVerify(b *testing.B) func() {
	b.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		b.Fatal(err)
	}
	digest := sha256.Sum256([]byte("a token"))
	signature, err := ecdsa.SignASN1(rand.Reader, key, digest[:])
	if err != nil {
		b.Fatal(err)
	}
	return func() {
		if !ecdsa.VerifyASN1(&key.PublicKey, digest[:], signature) {
			b.Fatal("a good signature is refused")
		}
	}
}

// BenchmarkHonestBesideGarbage sends honest checks at a fixed rate, alone and beside as many that
// are to be refused, and reports how long the slowest of a hundred honest ones waits, counted from
// when it was to be sent. One operation is a second of each.
func BenchmarkHonestBesideGarbage(b *testing.B) {
	self, err := os.Executable()
	if err != nil {
		b.Fatal(err)
	}
	p := startProcess(b, kindGate, self, kindGate)
	p.load(b, verifiedARound) // all tokens are cached
	var alone, beside []time.Duration
	b.ResetTimer()
	for range b.N {
		honest, garbage := newLoader(b, p.Address, p.Requests...), newLoader(b, p.Address, p.Garbage...)
		alone = append(alone, honest.paced(b)...)
		refused := make(chan struct{})
		go func() {
			defer close(refused)
			garbage.paced(b)
		}()
		beside = append(beside, honest.paced(b)...)
		<-refused
		if err := errors.Join(honest.conn.Close(), garbage.conn.Close()); err != nil {
			b.Error(err)
		}
	}
	percentile := func(all []time.Duration, share float64) float64 {
		slices.Sort(all)
		return float64(all[int(share*float64(len(all)-1))].Nanoseconds()) / 1e3
	}
	for _, share := range []float64{0.5, 0.99} {
		name := fmt.Sprintf("p%.0f-", share*100)
		b.ReportMetric(percentile(alone, share), name+"alone-us")
		b.ReportMetric(percentile(beside, share), name+"beside-us")
	}
}

// paced sends checks for a second, each at its time or, if the one before it has not been answered
// by then, as soon as it is; it returns how long each took, from its time on.
func (l *loader) paced(b *testing.B) (took []time.Duration) {
	const perSecond = 2000
	begin := time.Now()
	for i := range perSecond {
		due := begin.Add(time.Duration(i) * time.Second / perSecond)
		time.Sleep(time.Until(due))
		if err := l.run(1); err != nil {
			b.Error(err)
			return took
		}
		took = append(took, time.Since(due))
	}
	return took
}

func median(values []float64) float64 {
	sorted := slices.Sorted(slices.Values(values))
	return sorted[len(sorted)/2]
}

// cpu is the processor time of this process in microseconds.
func cpu(b *testing.B) float64 {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return float64(u.Utime.Nano()+u.Stime.Nano()) / 1e3
}
