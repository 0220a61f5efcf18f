-- Reads the issuers' lines, the hash KEYS[3], and says which of their positions lie on the log as
-- it is now.
-- ARGV: positions to be judged in the same way: epoch, seq, chain, ...
-- Returns a '1' or '0' for each of these, then for each line its name, the line, '1' or '0'.
local h = read_head()
local out = asked(h, 1)
if redis.call('HLEN', KEYS[3]) > 10000 then
  return redis.error_reply('ERR more than 10000 lines')
end
local lines = redis.call('HGETALL', KEYS[3])
for i = 1, #lines, 2 do
  out[#out + 1] = lines[i]
  out[#out + 1] = lines[i + 1]
  out[#out + 1] = line_lies(h, lines[i + 1])
end
return out
