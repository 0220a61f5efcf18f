-- Reads the issuers' lines, the hash KEYS[3], and says which of their positions lie on the log as
-- it is now.
-- ARGV: positions to be judged in the same way: epoch, seq, chain, ...
-- Returns a '1' or '0' for each of these, then for each line its name, the line, '1' or '0'.
local h = read_head()
local out = {}
for i = 1, #ARGV, 3 do
  out[#out + 1] = h and on_log(h, ARGV[i], tonumber(ARGV[i + 1]), ARGV[i + 2]) and '1' or '0'
end
if redis.call('HLEN', KEYS[3]) > 10000 then
  return redis.error_reply('ERR more than 10000 lines')
end
local lines = redis.call('HGETALL', KEYS[3])
for i = 1, #lines, 2 do
  local epoch, seq, chain = string.match(lines[i + 1], '^(%x+) (%d+) (%x+) ')
  -- Up to 15 digits are a number that is exact, whoever wrote it.
  local on = h and epoch and #seq <= 15 and on_log(h, epoch, tonumber(seq), chain)
  out[#out + 1] = lines[i]
  out[#out + 1] = lines[i + 1]
  out[#out + 1] = on and '1' or '0'
end
return out
