package redislog

import (
	_ "embed"
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

func newScript(body string) *redis.Script { return redis.NewScript(logSource + "\n" + body) }

var (
	appendScript    = newScript(appendSource)
	heartbeatScript = newScript(heartbeatSource)
	confirmScript   = newScript(confirmSource)
	linesScript     = newScript(linesSource)
	gatesScript     = newScript(gatesSource)
)

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
