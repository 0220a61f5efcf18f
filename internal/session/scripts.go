package session

import (
	_ "embed"
	"errors"
	"fmt"
	"strings"

	"github.com/redis/go-redis/v9"
)

// Every script gets the same three keys:
//
//	KEYS[1]  {tag}:user      the user's record, a hash:
//	                         gen       the user's stamp: changes whenever all logins of the user that
//	                                   are under way are to come to nothing; what began with another
//	                                   one has ended. Random, "0" before the first
//	                         cut       when the user was last logged out everywhere
//	KEYS[2]  {tag}:sessions  the user's sessions that are active or ending, a sorted set: the random
//	                         parts of their ids by expiry
//	KEYS[3]  {tag}:s:<id>    one session's record, a hash; to scripts that mark many, what the names
//	                         of all records begin with:
//	                         state     active, ending or ended
//	                         sub, client, tenant, amr, scope, cred, rights   see Login
//	                         begun, exp, era    when it began and expires; the log's era then
//	                         gen, cut  the user's as it began; gen moves with user.lua
//	                         n         the counter of the refresh token that works next
//	                         moved     when n last moved
//	                         spent     when it moved before that: see move.lua
//
// A script writes at least one field whenever its answer will be acted upon, so that the WAIT
// behind it speaks of this call (redisconn.WriteAndWait). An answer that only refuses may have
// written nothing.
//
// All times are Unix milliseconds. They come from the caller, who carries the log's clock: the
// scripts of one session may run on several nodes in turn.
var (
	//go:embed lua/user.lua
	userSource string
	//go:embed lua/begin.lua
	beginSource string
	//go:embed lua/move.lua
	moveSource string
	//go:embed lua/confirm.lua
	confirmSource string
	//go:embed lua/mark.lua
	markSource string
	//go:embed lua/finish.lua
	finishSource string
	//go:embed lua/everywhere.lua
	everywhereSource string
	//go:embed lua/outdated.lua
	outdatedSource string
)

// script is a script and the first words of its answers: those that it gives only after a write,
// which may be acted upon once enough replicas have that, and those that refuse something, which it
// may give after having read alone. Any other answer is an error.
type script struct {
	*redis.Script
	wrote, refuses []string
}

var (
	beginScript = newScript(userSource+beginSource, []string{"begun"}, []string{"moved", "full"})
	moveScript  = newScript(moveSource,
		[]string{"next", "again", "good", "generation", "ahead", "reuse"},
		[]string{"missing", "client", "expired", "era", "ending", "ended"})
	markScript = newScript(confirmSource+markSource,
		[]string{"missing", "active", "ending", "ended"}, nil)
	finishScript     = newScript(confirmSource+finishSource, []string{"ended"}, nil)
	everywhereScript = newScript(userSource+everywhereSource, []string{"everywhere"}, nil)
	outdatedScript   = newScript(userSource+outdatedSource, []string{"outdated"}, nil)
)

// newScript makes a script of a source, without its comments: Redis need not know them.
func newScript(source string, wrote, refuses []string) *script {
	var code strings.Builder
	for line := range strings.Lines(source) {
		if line = strings.TrimSpace(line); line != "" && !strings.HasPrefix(line, "--") {
			code.WriteString(line + "\n")
		}
	}
	return &script{redis.NewScript(code.String()), wrote, refuses}
}

// words reads a script's answer, of at least one word.
func words(answer any) ([]string, error) {
	list, err := redis.NewCmdResult(answer, nil).StringSlice()
	if err != nil {
		return nil, fmt.Errorf("session: reading a script's answer: %w", err)
	}
	if len(list) == 0 {
		return nil, errors.New("session: expected an answer from a script, got an empty one")
	}
	return list, nil
}
