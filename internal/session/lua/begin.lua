-- Begins a session, unless the user's stamp has changed since the login started.
-- ARGV: the stamp then, now, when the session expires, most sessions of a user, the random part of
-- the session's id, a time that the user's last log out everywhere was not before (0: none), then
-- the record's other fields and values.
-- Returns 'begun' and the time of the last log out everywhere; 'moved' when the stamp has changed;
-- 'full' and the session to end first; 'taken' when there is a record under this id.
local most, id, since = tonumber(ARGV[4]), ARGV[5], cut(ARGV[6])

-- Before anything else: a log out everywhere since the login started means this login, too.
if (redis.call('HGET', KEYS[1], 'gen') or '0') ~= stamp then return {'moved'} end
drop_expired()
if redis.call('ZCARD', KEYS[2]) >= most then
  return {'full', redis.call('ZRANGE', KEYS[2], 0, 0)[1]}
end
if redis.call('EXISTS', KEYS[3]) == 1 then return {'taken'} end

redis.call('HSET', KEYS[3], 'state', 'active', 'gen', stamp, 'cut', since, 'n', '1', 'moved', '0',
  'exp', ARGV[3])
for i = 7, #ARGV, 2 do redis.call('HSET', KEYS[3], ARGV[i], ARGV[i + 1]) end
redis.call('HSET', KEYS[1], 'gen', stamp, 'cut', since)
redis.call('ZADD', KEYS[2], ARGV[3], id)

redis.call('PEXPIREAT', KEYS[3], ARGV[3])
keep(KEYS[1])
keep(KEYS[2])
return {'begun', since}
