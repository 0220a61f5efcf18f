-- Marks sessions as ended. KEYS[3] and all behind it are their records.
-- ARGV: when the records may go, then the random parts of the sessions' ids, in the keys' order.
local found = false
for i = 3, #KEYS do
  if redis.call('EXISTS', KEYS[i]) == 1 then
    found = true
    redis.call('HSET', KEYS[i], 'state', 'ended')
    -- Never later than the session would have expired by itself.
    local expires = redis.call('HGET', KEYS[i], 'exp')
    if tonumber(expires) > tonumber(ARGV[1]) then redis.call('PEXPIREAT', KEYS[i], ARGV[1]) end
  end
  redis.call('ZREM', KEYS[2], ARGV[i - 1])
end
if not found then confirm() end
return {'ended'}
