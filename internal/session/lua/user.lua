-- Stands before scripts that speak of all of a user's sessions. Their ARGV begin with a stamp, now,
-- and until when something of the user lives.
local stamp, now, expires = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3])

-- The user's record and index live as long as the last of the user's sessions: never less.
local function keep(key)
  if redis.call('PTTL', key) < expires - now then redis.call('PEXPIREAT', key, ARGV[3]) end
end

local function drop_expired() redis.call('ZREMRANGEBYSCORE', KEYS[2], '-inf', ARGV[2]) end

-- cut is when the user was last logged out everywhere, or a time if that is later.
local function cut(time)
  local last = redis.call('HGET', KEYS[1], 'cut') or '0'
  return string.format('%.0f', math.max(tonumber(last), tonumber(time)))
end

-- mark changes the user's stamp, gives the new one to the sessions that may stay, and marks all
-- others as ending. KEYS[3] is what the names of their records begin with. Returns the word, then
-- each session marked: the random part of its id, and what it was.
local function mark(word, stays)
  local before = redis.call('HGET', KEYS[1], 'gen') or '0'
  -- The stamp in the same step as the marks: a login under way either is in the index already, or
  -- finds another stamp than it started with.
  redis.call('HSET', KEYS[1], 'gen', stamp)
  keep(KEYS[1])
  drop_expired()
  local found = {word}
  for _, id in ipairs(redis.call('ZRANGE', KEYS[2], 0, -1)) do
    local key = KEYS[3] .. id
    local s = redis.call('HMGET', key, 'state', 'gen', 'cred', 'rights')
    if not s[1] then
      redis.call('ZREM', KEYS[2], id)
    elseif s[1] == 'active' and s[2] == before and stays(s[3], s[4]) then
      redis.call('HSET', key, 'gen', stamp)
    else
      redis.call('HSET', key, 'state', s[1] == 'active' and 'ending' or s[1])
      found[#found + 1] = id
      found[#found + 1] = s[1]
    end
  end
  return found
end
