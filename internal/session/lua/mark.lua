-- Marks a session as ending. ARGV: the random part of its id. Returns what it was.
local state = redis.call('HGET', KEYS[3], 'state')
if not state then
  redis.call('ZREM', KEYS[2], ARGV[1])
  confirm()
  return {'missing'}
end
-- One that has ended stays so, and is written all the same.
redis.call('HSET', KEYS[3], 'state', state == 'active' and 'ending' or state)
return {state}
