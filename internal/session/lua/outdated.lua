-- Changes the user's stamp, so that no login under way ends up in a session, gives the new one to
-- the sessions that go by the given credential and rights, and marks all others as ending.
-- ARGV: the new stamp, when the user's record may go, the prefix of records, now, the credential,
-- the rights.
-- Returns 'outdated', then each session marked: the random part of its id, and what it was.
local stamp, expires, prefix = ARGV[1], tonumber(ARGV[2]), ARGV[3]
local now, credential, rights = tonumber(ARGV[4]), ARGV[5], ARGV[6]

local before = redis.call('HGET', KEYS[1], 'gen') or '0'
redis.call('HSET', KEYS[1], 'gen', stamp)
local left = redis.call('PTTL', KEYS[1])
if left < expires - now then redis.call('PEXPIREAT', KEYS[1], ARGV[2]) end

redis.call('ZREMRANGEBYSCORE', KEYS[2], '-inf', ARGV[4])
local found = {'outdated'}
for _, id in ipairs(redis.call('ZRANGE', KEYS[2], 0, -1)) do
  local key = prefix .. id
  local s = redis.call('HMGET', key, 'state', 'gen', 'cred', 'rights')
  if not s[1] then
    redis.call('ZREM', KEYS[2], id)
  elseif s[1] == 'active' and s[2] == before and s[3] == credential and s[4] == rights then
    redis.call('HSET', key, 'gen', stamp)
  else
    redis.call('HSET', key, 'state', s[1] == 'active' and 'ending' or s[1])
    found[#found + 1] = id
    found[#found + 1] = s[1]
  end
end
return found
