//go:build model

package model

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"pgregory.net/rapid"

	"github.com/sallyport/sallyport/internal/eventually"
	"github.com/sallyport/sallyport/internal/revocation"
)

// scripted is a real Redis on which the log's own scripts run.
type scripted struct {
	*redis.Client
	sources map[string]string
}

const (
	logKey, headKey, linesKey = "{p}:rev:log", "{p}:rev:head", "{p}:issuers"

	long = int64(1_000_000_000) // ms: no entry expires and no mending passes while the test runs
)

func startScripted(t *testing.T) *scripted {
	t.Helper()
	dir, err := os.MkdirTemp("", "model") // a socket's path must be short
	if err != nil {
		t.Fatal(err)
	}
	socket := filepath.Join(dir, "s")
	cmd := exec.Command("redis-server", "--port", "0", "--unixsocket", socket, "--save", "",
		"--dir", dir, "--loglevel", "warning")
	if err := cmd.Start(); err != nil {
		t.Fatalf("redis-server (Debian: apt install redis-server): %v", err)
	}
	s := &scripted{
		redis.NewClient(
			&redis.Options{Network: "unix", Addr: socket, Protocol: 2, DisableIdentity: true}),
		map[string]string{},
	}
	t.Cleanup(func() {
		_ = s.Close()
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		_ = os.RemoveAll(dir)
	})
	eventually.True(t, "redis-server to answer", func() bool { return s.Ping(t.Context()).Err() == nil })
	common := source(t, "log")
	for _, name := range []string{"append", "heartbeat", "confirm", "lines"} {
		s.sources[name] = common + "\n" + source(t, name)
	}
	return s
}

func source(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile("../revocation/redislog/lua/" + name + ".lua")
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// pair is a data of the model and a real Redis that have taken the same steps.
type pair struct {
	*rapid.T
	real   *scripted
	model  *data
	epochs uint8
	places []revocation.Position // where the log has been, and where it never was
	serial int

	tidy             bool // the next heartbeat carries on whatever may be
	carried, trimmed int
}

func (p *pair) run(name, third string, args ...any) []any {
	p.Helper()
	keys := []string{logKey, headKey, third}
	answer, err := p.real.Eval(context.Background(), p.real.sources[name], keys, args...).Result()
	if err != nil {
		p.Fatalf("%s: %v", name, err)
	}
	if list, ok := answer.([]any); ok {
		return list
	}
	return []any{answer}
}

// at is the time of the log's first entry, for the model to begin its epoch at.
func (p *pair) at() int64 {
	for _, e := range p.entries() {
		if e.Seq == 1 {
			return e.At
		}
	}
	return 0
}

func (p *pair) entries() (out []revocation.Entry) {
	found, err := p.real.XRange(context.Background(), logKey, "-", "+").Result()
	if err != nil {
		p.Fatal(err)
	}
	for _, m := range found {
		seq, err := strconv.ParseUint(strings.TrimSuffix(m.ID, "-0"), 10, 64)
		if err != nil {
			p.Fatal(err)
		}
		out = append(out, revocation.Decode(seq, m.Values["e"].(string), m.Values["c"].(string)))
	}
	return out
}

func (p *pair) place() revocation.Position { return rapid.SampledFrom(p.places).Draw(p.T, "place") }

func lineText(p revocation.Position) string {
	return fmt.Sprintf("%s %d %s 1 x", p.Epoch, p.Seq, p.Chain)
}

func issuerName(i int) string { return fmt.Sprintf("issuer-%d", i) }

func (p *pair) heartbeat() {
	i := rapid.IntRange(0, maxIssuers-1).Draw(p.T, "issuer")
	hb := revocation.Heartbeat{
		Position: p.place(),
		Mend:     rapid.Bool().Draw(p.T, "mend"), Holds: rapid.Bool().Draw(p.T, "holds"),
		Stored: uint64(rapid.IntRange(0, 6).Draw(p.T, "stored")),
	}
	if rapid.Bool().Draw(p.T, "it has followed the log") {
		hb.Position, hb.Mend, hb.Stored = p.model.position(), false, 0
	}
	hb.Live = rapid.IntRange(-1, 2).Draw(p.T, "live")
	spare := rapid.IntRange(-1, 1).Draw(p.T, "spare")
	// Without a clock_skew what has expired is trimmed at once, the first of an epoch, too.
	expired := rapid.SampledFrom([]int64{0, revocation.MaxMillis}).Draw(p.T, "expired")
	if p.tidy {
		hb = revocation.Heartbeat{Position: p.model.position()}
		spare, expired = -1, revocation.MaxMillis
	}
	out := p.run("heartbeat", linesKey, epochBits(p.epochs), lifetime.Milliseconds(), 0,
		issuerName(i), lineText(hb.Position), hb.Position.Epoch.String(), hb.Position.Seq,
		hb.Position.Chain.String(), bit(hb.Mend), bit(hb.Holds), hb.Stored, long, 1000, expired, 0, hb.Live,
		spare)
	if p.model.ensure(p.epochs, p.at()) {
		p.epochs++
	}
	lacks, misses := p.model.lacks(&hb), p.model.misses(&hb)
	found := p.model.reply(&hb)
	before := *p.model
	t := trimming{
		now: time.Now().UnixMilli(), over: min(time.Now().UnixMilli(), expired),
		life: lifetime.Milliseconds(), spare: spare, carry: true,
	}
	p.model.trim(&t, hb.Live, lacks)
	p.carried += int(p.model.seq - before.seq)
	p.trimmed += int(p.model.first - before.first)
	if misses {
		p.model.mending = 2
	}
	p.model.lines[i] = line{there: true, at: hb.Position}
	r := p.model.reply(&hb)
	mine := ""
	if found.AtMineFound {
		mine = found.AtMine.String()
	}
	p.same("the heartbeat's answer", fmt.Sprint(out[1:5], []any{out[8], p.length()}), fmt.Sprint([]any{
		r.Head.Epoch, r.Head.Seq, r.Head.Chain, r.Head.First}, []any{mine, len(p.model.entries)}))
}

func (p *pair) append() {
	b := revocation.Batch{Again: rapid.Bool().Draw(p.T, "again"), Expect: p.place()}
	dead := b.Again && rapid.Bool().Draw(p.T, "dead")
	for range rapid.IntRange(1, 2).Draw(p.T, "entries") {
		p.serial++
		b.Entries = append(b.Entries, revocation.Entry{
			Kind:    revocation.KindSID,
			Issuer:  iss,
			Value:   fmt.Sprint("s", p.serial),
			Actor:   "a",
			At:      redisNow,
			Expires: redisNow + 1000*long,
		})
	}
	for i := range b.Entries {
		if dead {
			b.Entries[i].Expires = 1
		}
	}
	mode := "new"
	if b.Again {
		mode = "again"
	}
	args := []any{
		epochBits(p.epochs),
		lifetime.Milliseconds(),
		long,
		0,
		mode,
		b.Expect.Epoch.String(),
		b.Expect.Seq,
		b.Expect.Chain.String(),
		0,
		0,
		0,
	}
	for i := range b.Entries {
		args = append(args, b.Entries[i].Body())
	}
	out := p.run("append", "{p}:rev:cutoffs", args...)
	if p.model.ensure(p.epochs, p.at()) {
		p.epochs++
	}
	first, before, ok := p.model.append(&b)
	status := map[bool]string{true: "OK", false: "MOVED"}[ok]
	p.same("the append's answer", fmt.Sprint(out[:5]),
		fmt.Sprint([]any{status, p.model.epoch, first, p.model.seq, before}))
}

// age lets all up to a place be old.
func (p *pair) age() {
	if p.model.head {
		young := rapid.IntRange(0, int(min(p.model.seq, 2))).Draw(p.T, "young")
		p.model.old = p.model.seq - uint64(young)
		p.do("HSET", headKey, "aged", fmt.Sprintf("%s %d %d %d", p.model.epoch, p.model.old,
			p.model.seq, time.Now().UnixMilli()))
	}
}

// tidied appends and lets all be old, so that there is something to carry on.
func (p *pair) tidied() {
	p.append()
	p.append()
	p.age()
	p.tidy = true
	p.heartbeat()
	p.tidy = false
}

func (p *pair) confirm() {
	i, at := rapid.IntRange(0, maxIssuers-1).Draw(p.T, "issuer"), p.place()
	out := p.run("confirm", linesKey, at.Epoch.String(), at.Seq, at.Chain.String(), issuerName(i),
		lineText(at))
	p.same("the confirmation's answer", fmt.Sprint(out),
		fmt.Sprint([]any{bit(p.model.confirm(i, at, true))}))
}

func (p *pair) lines() {
	at := p.place()
	out := p.run("lines", linesKey, at.Epoch.String(), at.Seq, at.Chain.String())
	p.same("whether a place lies on the log", fmt.Sprint(out[0]), fmt.Sprint(bit(p.model.onLog(at))))
	for k := 1; k+2 < len(out); k += 3 {
		for i := range p.model.lines {
			if out[k] == issuerName(i) && p.model.lines[i].at.Epoch != (revocation.Epoch{}) {
				p.same("whether a line lies on the log", fmt.Sprint(out[k+2]),
					fmt.Sprint(bit(p.model.onLog(p.model.lines[i].at))))
			}
		}
	}
}

func (p *pair) do(args ...any) {
	if err := p.real.Do(context.Background(), args...).Err(); err != nil {
		p.Fatal(err)
	}
}

func (p *pair) length() int64 {
	n, err := p.real.XLen(context.Background(), logKey).Result()
	if err != nil {
		p.Fatal(err)
	}
	return n
}

func (p *pair) flush() {
	p.do("FLUSHALL")
	*p.model = data{}
}

func (p *pair) trim() {
	if n := len(p.model.entries); n > 0 {
		k := rapid.IntRange(1, n).Draw(p.T, "trimmed")
		p.do("XTRIM", logKey, "MAXLEN", n-k)
		p.model.entries = p.model.entries[k:]
	}
}

func (p *pair) deleteHead() {
	p.do("DEL", headKey)
	p.model.head, p.model.mending = false, 0
}

func (p *pair) same(what, real, model string) {
	p.Helper()
	if real != model {
		p.Fatalf("%s:\nRedis: %s\nmodel: %s", what, real, model)
	}
}

// judge compares all that the two hold.
func (p *pair) judge(*rapid.T) {
	head, err := p.real.HMGet(context.Background(), headKey, "epoch", "seq", "chain", "first").Result()
	if err != nil {
		p.Fatal(err)
	}
	want := []any{nil, nil, nil, nil}
	if p.model.head {
		want = []any{p.model.epoch, p.model.seq, p.model.chain, p.model.first}
	}
	p.same("the head", fmt.Sprint(head), fmt.Sprint(want))
	mending, _ := strconv.ParseInt(p.real.HGet(context.Background(), headKey, "mending").Val(), 10, 64)
	p.same("whether it is being mended", fmt.Sprint(mending > time.Now().UnixMilli()),
		fmt.Sprint(p.model.mending > 0))
	p.same("the entries", fmt.Sprint(p.entries()), fmt.Sprint(p.model.entries))
	lines := p.real.HGetAll(context.Background(), linesKey).Val()
	for i, l := range p.model.lines {
		text := ""
		if l.there {
			text = lineText(l.at)
		}
		p.same("a line", lines[issuerName(i)], text)
	}
	if p.model.head {
		p.places = append(p.places, p.model.position())
	}
}

// TestTheModelsRedisTakesTheScriptsSteps: what the explorer believes of Redis is what the scripts
// that ship do there.
func TestTheModelsRedisTakesTheScriptsSteps(t *testing.T) {
	real := startScripted(t)
	appended, moved, carried, trimmed := 0, 0, 0, 0
	rapid.Check(t, func(t *rapid.T) {
		p := &pair{
			T:     t,
			real:  real,
			model: &data{},
			places: []revocation.Position{
				{},
				{Epoch: revocation.Epoch{9}, Seq: 2, Chain: revocation.Chain{9}},
			},
		}
		p.do("FLUSHALL")
		t.Repeat(map[string]func(*rapid.T){
			"":                p.judge,
			"heartbeat":       func(*rapid.T) { p.heartbeat() },
			"append":          func(*rapid.T) { p.append() },
			"confirm":         func(*rapid.T) { p.confirm() },
			"lines":           func(*rapid.T) { p.lines() },
			"flush":           func(*rapid.T) { p.flush() },
			"trim":            func(*rapid.T) { p.trim() },
			"delete the head": func(*rapid.T) { p.deleteHead() },
			"append more":     func(*rapid.T) { p.append() },
			"age":             func(*rapid.T) { p.age() },
			"tidy":            func(*rapid.T) { p.tidied() },
		})
		appended += p.serial
		moved += int(p.epochs)
		carried, trimmed = carried+p.carried, trimmed+p.trimmed
	})
	if appended == 0 || moved == 0 || carried == 0 || trimmed == 0 {
		t.Errorf("nothing was tried: %d entries, %d epochs, %d carried on, %d trimmed", appended, moved,
			carried, trimmed)
	}
}
