package redislog

import (
	"crypto/sha1"
	_ "embed"
	"encoding/hex"
	"strconv"
	"strings"

	"github.com/redis/go-redis/v9"
)

//go:embed lua/log.lua
var logSource string

//go:embed lua/append.lua
var appendSource string

//go:embed lua/heartbeat.lua
var heartbeatSource string

//go:embed lua/confirm.lua
var confirmSource string

//go:embed lua/lines.lua
var linesSource string

//go:embed lua/gates.lua
var gatesSource string

// script is a Lua script that Redis may know by its hash. It is sent by its hash first; the answer
// NOSCRIPT says that nothing was done, whatever a WAIT behind it says.
type script struct{ source, hash string }

func newScript(body string) script {
	source := logSource + "\n" + body
	sum := sha1.Sum([]byte(source))
	return script{source, hex.EncodeToString(sum[:])}
}

var (
	appendScript    = newScript(appendSource)
	heartbeatScript = newScript(heartbeatSource)
	confirmScript   = newScript(confirmSource)
	linesScript     = newScript(linesSource)
	gatesScript     = newScript(gatesSource)
)

// command is the script's call: by hash, or whole.
func (s script) command(whole bool, keys []string, args []any) []any {
	name, what := "EVALSHA", s.hash
	if whole {
		name, what = "EVAL", s.source
	}
	out := make([]any, 0, 3+len(keys)+len(args))
	out = append(out, name, what, len(keys))
	for _, k := range keys {
		out = append(out, k)
	}
	return append(out, args...)
}

func isNoScript(err error) bool {
	return err != nil && redis.HasErrorPrefix(err, "NOSCRIPT")
}

// keys are the log's keys under one prefix.
type keys struct {
	log, head, cutoffs, issuers string
	gates                       string // the start of the gates' lines
	formerGates                 string // the hash where gates of earlier versions keep their lines
	// there for a while after an issuer has found and taken away that hash
	formerSeen string
}

// gate is the key of the gates' line of a number.
func (k *keys) gate(n int) string { return k.gates + strconv.Itoa(n) }

func keysUnder(prefix string) keys {
	return keys{
		log: prefix + ":rev:log", head: prefix + ":rev:head", cutoffs: prefix + ":rev:cutoffs",
		issuers: prefix + ":issuers", gates: prefix + ":replica:", formerGates: prefix + ":replicas",
		formerSeen: prefix + ":replicas:seen",
	}
}

// oneLine makes an error of Redis fit for a log line and an error text.
func oneLine(s string) string { return strings.Map(dropControls, s) }

func dropControls(r rune) rune {
	if r < 0x20 || r == 0x7f {
		return -1
	}
	return r
}
