package stream

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/sallyport/sallyport/internal/redisconn"
)

// Lease says which of many issuers keeps a stream, and tells all of them when it was verified. Two
// that keep one stream at once do no harm: what one has acknowledged the other does not get.
type Lease interface {
	// Hold takes or renews the lease for some time, and reports whether it is this process'.
	Hold(ctx context.Context, life time.Duration) (bool, error)
	// Verified notes that the stream works; LastVerified returns when that was, zero for never.
	Verified(ctx context.Context, at time.Time) error
	LastVerified(ctx context.Context) (time.Time, error)
	// Release gives the lease back, if it is this process'.
	Release(ctx context.Context) error
	// Authorizations returns what all know of the stream's Authorization header.
	Authorizations(ctx context.Context) (Authorizations, error)
	SetAuthorizations(ctx context.Context, all Authorizations) error
}

// NewLease returns the lease of the stream of that sender, kept in Redis under the prefix of the
// log's keys: another installation beside it has a stream of its own.
func NewLease(client *redisconn.Client, prefix, sender string) Lease {
	sum := sha256.Sum256([]byte(sender))
	name := prefix + ":signals:" + hex.EncodeToString(sum[:16])
	return &lease{
		client: client.Universal(), holder: rand.Text(), key: name + ":keeper",
		verified: name + ":verified", authorization: name + ":authorization",
	}
}

type lease struct {
	client                redis.UniversalClient
	holder, key, verified string
	authorization         string
}

// holdScript takes what nobody else holds. It must know the holder, since whoever was stopped for
// longer than the lease may not take it away from who has it now.
var holdScript = redis.NewScript(`
local holder = redis.call('GET', KEYS[1])
if holder and holder ~= ARGV[1] then return 0 end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return 1`)

func (l *lease) Hold(ctx context.Context, life time.Duration) (bool, error) {
	n, err := holdScript.Run(ctx, l.client, []string{l.key}, l.holder, life.Milliseconds()).Int()
	if err != nil {
		return false, fmt.Errorf("taking the lease: %w", err)
	}
	return n == 1, nil
}

// releaseScript deletes what is still this holder's.
var releaseScript = redis.NewScript(`
if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('DEL', KEYS[1]) end
return 0`)

func (l *lease) Release(ctx context.Context) error {
	if err := releaseScript.Run(ctx, l.client, []string{l.key}, l.holder).Err(); err != nil {
		return fmt.Errorf("giving the lease back: %w", err)
	}
	return nil
}

func (l *lease) Authorizations(ctx context.Context) (all Authorizations, err error) {
	fields, err := l.client.HGetAll(ctx, l.authorization).Result()
	if err != nil {
		return all, fmt.Errorf("asking for the stream's authorizations: %w", err)
	}
	all = Authorizations{Stream: fields["stream"], Told: fields["told"], Next: fields["next"], Before: fields["before"]}
	for name, to := range map[string]*time.Time{
		"next_at": &all.NextAt, "before_at": &all.BeforeAt,
	} {
		if fields[name] == "" {
			continue
		}
		ms, err := strconv.ParseInt(fields[name], 10, 64)
		if err != nil {
			return Authorizations{}, fmt.Errorf("expected a time in milliseconds in %s of %s", name,
				l.authorization)
		}
		*to = time.UnixMilli(ms)
	}
	return all, nil
}

func (l *lease) SetAuthorizations(ctx context.Context, all Authorizations) error {
	err := l.client.HSet(ctx, l.authorization, "stream", all.Stream, "told", all.Told, "next", all.Next, "before", all.Before,
		"next_at", all.NextAt.UnixMilli(), "before_at", all.BeforeAt.UnixMilli()).Err()
	if err != nil {
		return fmt.Errorf("noting the stream's authorizations: %w", err)
	}
	return nil
}

func (l *lease) Verified(ctx context.Context, at time.Time) error {
	return l.client.Set(ctx, l.verified, at.UnixMilli(), 0).Err()
}

func (l *lease) LastVerified(ctx context.Context) (time.Time, error) {
	text, err := l.client.Get(ctx, l.verified).Result()
	if errors.Is(err, redis.Nil) {
		return time.Time{}, nil
	}
	if err != nil {
		return time.Time{}, fmt.Errorf("asking when the stream was verified: %w", err)
	}
	ms, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		return time.Time{}, errors.New("expected a time in milliseconds in " + l.verified)
	}
	return time.UnixMilli(ms), nil
}
