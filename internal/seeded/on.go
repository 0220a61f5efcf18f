//go:build seededbugs

package seeded

import (
	"os"
	"slices"
	"strings"
	"sync"
)

// Variable names the bug that is on; empty means none.
const Variable = "SALLYPORT_SEEDED_BUG"

// AtWork is what the program writes to standard error when it first comes to the bug that is on.
const AtWork = "seeded bug at work: "

var (
	chosen = Bug(os.Getenv(Variable))
	tell   sync.Once
)

func init() {
	_, _ = os.Stderr.WriteString("this program holds seeded bugs: it is for tests alone\n")
}

// On reports whether a bug is at work.
func On(b Bug) bool {
	if b != chosen {
		return false
	}
	tell.Do(func() { _, _ = os.Stderr.WriteString(AtWork + string(b) + "\n") })
	return true
}

// OneOf reports whether one of several is at work.
func OneOf(bugs ...Bug) bool { return slices.ContainsFunc(bugs, On) }

// Script gives a Lua script as the bug that is on would have it.
func Script(source string) string {
	for _, p := range patches[chosen] {
		if strings.Count(source, p.rule) == 1 && On(chosen) {
			source = strings.Replace(source, p.rule, p.bug, 1)
		}
	}
	return source
}

// patch is a rule in a Lua script and what stands there instead.
type patch struct{ rule, bug string }

var patches = map[Bug][]patch{
	LineWithoutChain: {{
		"return chain_at(seq) == chain or (seq == h.seq and chain == h.chain)",
		"return seq <= h.seq",
	}},
	ChainWithoutEpoch:       {{"chain_after(redis.sha1hex(random), 1, body)", "chain_after(redis.sha1hex(''), 1, body)"}},
	HeadNotChecked:          {{"if again and (h.epoch ~= ARGV[6]", "if false and (h.epoch ~= ARGV[6]"}},
	MendingNotRenewedByTime: {{"h.mending = math.max(h.mending, t + settle)", "h.mending = h.mending > 0 and h.mending or t + settle"}},
	IdleMakesNoHead: {{
		"local h = ensure(ARGV[1], tonumber(ARGV[2]), skew, t, tonumber(ARGV[15]))",
		`local h = read_head()
if not h and ARGV[10] ~= '1' then return {int(t), '', '', '', '', '', '', '', '', '0'} end
h = ensure(ARGV[1], tonumber(ARGV[2]), skew, t, tonumber(ARGV[15]))`,
	}},
	FirstNotMoved:        {{"redis.call('HSET', HEAD, 'first', int(h.first))", ""}},
	LogNotMissed:         {{"return type(n) == 'number' and n > 0 and n == h.seq - h.first + 1 and chain_at(h.seq) == h.chain", "return true"}},
	EraIgnored:           {{"if s[4] ~= ARGV[4] then return {'era'} end", ""}},
	SilenceKeepsEra:      {{" and at - h.beat <= math.max(h.life, lifetime) + 2 * skew", ""}},
	CounterAhead:         {{"if n > stored then return ending('ahead') end", ""}},
	SpentForgotten:       {{"if of == s[6] then", "if false then"}},
	SpentByTheLast:       {{"if not note(moved - tonumber(d)) then break end", "note(moved)"}},
	GenerationNotChecked: {{"if gen ~= ARGV[1] then return {'moved'} end", ""}},
	TrimByOwnClock:       {{"return expires_of(field(entry[2], 'e')) + skew <= over end", "return expires_of(field(entry[2], 'e')) <= tonumber(ARGV[16]) end"}},
	IssuerBeatByRead: {
		{"redis.call('HSET', HEAD, 'beat', int(t))", ""},
		{"redis.call('HSET', LINES, ARGV[4], ARGV[5])", ""},
	},
}
