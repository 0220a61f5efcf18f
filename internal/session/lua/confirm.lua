-- Stands before scripts that may find nothing to write: they write all the same, so that WAIT has
-- something to wait for. Nothing is left of it.
local function confirm()
  redis.call('HSET', KEYS[3], 'state', 'missing')
  redis.call('DEL', KEYS[3])
end
