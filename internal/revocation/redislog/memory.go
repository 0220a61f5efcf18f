package redislog

import (
	"context"
	"strconv"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/sallyport/sallyport/internal/redisconn"
)

// memoryEvery is how often an issuer asks Redis how full it is: a full Redis is an outage, and it
// fills slowly.
const memoryEvery = 15 * time.Second

// memory is how much of its memory a server of Redis uses.
type memory struct{ used, limit float64 } // bytes; limit 0: none

// fuller reports whether a server is nearer to its limit than another one. One without a limit is
// judged by its size among others without.
func (m memory) fuller(than memory) bool {
	if m.limit > 0 && than.limit > 0 {
		return m.used/m.limit > than.used/than.limit
	}
	if (m.limit > 0) != (than.limit > 0) {
		return m.limit > 0
	}
	return m.used > than.used
}

// watchMemory keeps the metrics of Redis' memory, until ctx ends.
func watchMemory(ctx context.Context, f *follower) {
	for {
		bounded, cancel := context.WithTimeout(ctx, memoryEvery/3)
		most, err := fullest(bounded, f.client)
		cancel()
		if err == nil {
			f.metrics.redisUsed.Set(most.used)
			f.metrics.redisLimit.Set(most.limit)
		} else if ctx.Err() == nil {
			f.metrics.logError("how much memory Redis uses is not known", err)
		}
		if !sleep(ctx, memoryEvery, nil) {
			return
		}
	}
}

// fullest asks every primary, and returns the one that is nearest to its limit.
func fullest(ctx context.Context, client *redisconn.Client) (most memory, err error) {
	err = client.EachPrimary(ctx, func(_ string, conn *redis.Conn) error {
		text, err := conn.Info(ctx, "memory").Result()
		if err != nil {
			return err
		}
		info, m := parseInfo(text), memory{}
		if m.used, err = strconv.ParseFloat(info["used_memory"], 64); err != nil {
			return errReply
		}
		if m.limit, err = strconv.ParseFloat(info["maxmemory"], 64); err != nil {
			return errReply
		}
		if m.fuller(most) {
			most = m
		}
		return nil
	})
	return most, err
}
