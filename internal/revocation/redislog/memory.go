package redislog

import (
	"context"
	"strconv"
	"time"

	"github.com/redis/go-redis/v9"
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
func (i *Issuer) watchMemory(ctx context.Context) {
	for {
		bounded, cancel := context.WithTimeout(ctx, memoryEvery/3)
		fullest, err := i.memory(bounded)
		cancel()
		if err == nil {
			i.metrics.redisUsed.Set(fullest.used)
			i.metrics.redisLimit.Set(fullest.limit)
		} else if ctx.Err() == nil {
			i.metrics.logError("how much memory Redis uses is not known", err)
		}
		if !sleep(ctx, memoryEvery, nil) {
			return
		}
	}
}

// memory asks every primary, and gives the one that is nearest to its limit.
func (i *Issuer) memory(ctx context.Context) (fullest memory, err error) {
	err = i.client.EachPrimary(ctx, func(_ string, conn *redis.Conn) error {
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
		if m.fuller(fullest) {
			fullest = m
		}
		return nil
	})
	return fullest, err
}
