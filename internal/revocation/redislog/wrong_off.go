//go:build !seededbugs

package redislog

import (
	"context"
	"errors"
	"time"

	"github.com/redis/go-redis/v9"
)

// appendsWrongly and gateBeatsWrongly are for builds with seeded bugs.
func appendsWrongly() bool   { return false }
func gateBeatsWrongly() bool { return false }

func (f *follower) appendWrongly(context.Context, *redis.Conn, script, []string, []any, time.Duration) (any, int, error) {
	return nil, 0, errors.ErrUnsupported
}

func (f *follower) gateWrongly(context.Context, *redis.Conn, [][]any) ([]any, int, error) {
	return nil, 0, errors.ErrUnsupported
}
