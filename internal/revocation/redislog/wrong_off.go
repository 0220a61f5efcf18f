//go:build !seededbugs

package redislog

import (
	"context"
	"errors"
	"time"

	"github.com/redis/go-redis/v9"
)

// waitsWrongly is for builds with seeded bugs.
func waitsWrongly() bool { return false }

func (f *follower) waitWrongly(context.Context, *redis.Conn, script, []string, []any, time.Duration) (any, int, error) {
	return nil, 0, errors.ErrUnsupported
}
