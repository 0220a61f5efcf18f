//go:build !seededbugs

package redislog

import (
	"context"
	"errors"
	"time"

	"github.com/redis/go-redis/v9"
)

// appendWrongly and gateWrongly are for builds with seeded bugs; nothing calls them in others.
func appendWrongly(context.Context, *follower, *redis.Conn, script, []string, []any, time.Duration) (any, int, error) {
	return nil, 0, errors.ErrUnsupported
}

func gateWrongly(context.Context, *follower, *redis.Conn, [][]any) ([]any, int, error) {
	return nil, 0, errors.ErrUnsupported
}
