-- Changes the user's stamp and marks all of the user's sessions as ending.
-- ARGV: the new stamp, the time of the log out, when the user's record may go, the prefix of
-- records, now.
-- Returns 'everywhere', then each session: the random part of its id, and what it was.
local stamp, cutoff, expires = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3])
local prefix, now = ARGV[4], tonumber(ARGV[5])

-- The stamp in the same step as the marks: a login under way either is in the index already, or
-- finds another stamp than it started with.
local cut = math.max(tonumber(redis.call('HGET', KEYS[1], 'cut') or '0'), cutoff)
redis.call('HSET', KEYS[1], 'gen', stamp, 'cut', string.format('%.0f', cut))
local left = redis.call('PTTL', KEYS[1])
if left < expires - now then redis.call('PEXPIREAT', KEYS[1], ARGV[3]) end

redis.call('ZREMRANGEBYSCORE', KEYS[2], '-inf', ARGV[5])
local found = {'everywhere'}
for _, id in ipairs(redis.call('ZRANGE', KEYS[2], 0, -1)) do
  local key = prefix .. id
  local state = redis.call('HGET', key, 'state')
  if state then
    redis.call('HSET', key, 'state', state == 'active' and 'ending' or state)
    found[#found + 1] = id
    found[#found + 1] = state
  else
    redis.call('ZREM', KEYS[2], id)
  end
end
return found
