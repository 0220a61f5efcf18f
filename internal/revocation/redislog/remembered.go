package redislog

import (
	"context"
	"fmt"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/sallyport/sallyport/internal/revocation"
)

// Remembered returns what Redis remembers of a session within max_session_lifetime, by one command.
// An empty name asks for none of its kind.
func (i *Issuer) Remembered(ctx context.Context,
	issuer, sessionID, subject, client, tenant string) (revocation.Remembered, error) {
	names := []struct {
		kind  revocation.Kind
		value string
	}{
		{revocation.KindSID, sessionID},
		{revocation.KindSub, subject},
		{revocation.KindIss, ""},
		{revocation.KindClient, client},
		{revocation.KindTenant, tenant},
	}
	command := []any{"ZMSCORE", i.keys.cutoffs}
	asked := make([]revocation.Kind, 0, len(names))
	for _, n := range names {
		if n.value != "" || n.kind == revocation.KindIss {
			command = append(command, cutoffMember(n.kind, issuer, n.value))
			asked = append(asked, n.kind)
		}
	}
	answer := redis.NewFloatSliceCmd(ctx, command...)
	err := i.client.Read(ctx, answer)
	if err == nil && len(answer.Val()) != len(asked) {
		err = errReply
	}
	if err != nil {
		return revocation.Remembered{}, fmt.Errorf("%w: cutoffs and ended sessions: %w",
			revocation.ErrUnavailable, err)
	}
	var found revocation.Remembered
	for k, score := range answer.Val() {
		if score <= 0 { // 0: there is none
			continue
		}
		switch at := time.UnixMilli(int64(score)); asked[k] {
		case revocation.KindSID:
			found.Ended = true
		case revocation.KindSub:
			found.Subject = at
		default:
			if at.After(found.Others) {
				found.Others = at
			}
		}
	}
	return found, nil
}

// cutoffMember returns the name of a cutoff, or of an ended session, in the sorted set; the append
// script makes the same.
func cutoffMember(k revocation.Kind, issuer, value string) string {
	return fmt.Sprintf("%s:%d:%s:%s", k, len(issuer), issuer, value)
}
