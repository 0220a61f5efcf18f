package redisconn

import (
	"context"
	"errors"
	"fmt"

	"github.com/redis/go-redis/v9"

	"github.com/sallyport/sallyport/internal/config"
)

// AnswersStrangers reports whether the Redis of a configuration answers a connection that names no
// user and no password.
func AnswersStrangers(ctx context.Context, cfg Config) (bool, error) {
	cfg.Username, cfg.Password = "", config.Secret{}
	c, err := Open(cfg)
	if err != nil {
		return false, err
	}
	err = c.Universal().Ping(ctx).Err()
	if err := c.Close(); err != nil {
		return false, fmt.Errorf("redisconn: %w", err)
	}
	// An answer that refuses is an answer; any other error says nothing.
	var refused redis.Error
	switch {
	case err == nil:
		return true, nil
	case errors.As(err, &refused):
		return false, nil
	}
	return false, fmt.Errorf("redisconn: %w", err)
}
