-- Reads the gates' lines, KEYS[3] and on, and says which of their positions lie on the log as it is
-- now. Whoever controls a gate writes anything there: what is longer than a line, or no string, is
-- dropped unread.
-- ARGV: the longest line in bytes, then positions to be judged in the same way: epoch, seq, chain,
-- ...
-- Returns a '1' or '0' for each of these, how many lines were dropped, then for each line its
-- number, the line, '1' or '0'.
local longest = tonumber(ARGV[1])
local h = read_head()
local out = asked(h, 2)
out[#out + 1] = 0
local dropped = #out
for n = 3, #KEYS do
  local size = redis.pcall('STRLEN', KEYS[n])
  if type(size) ~= 'number' or size > longest then
    redis.pcall('UNLINK', KEYS[n]) -- fails in a Redis that takes no writes now; it is not read then
    out[dropped] = out[dropped] + 1
  elseif size > 0 then
    local line = redis.call('GET', KEYS[n])
    out[#out + 1] = int(n - 2)
    out[#out + 1] = line
    out[#out + 1] = line_lies(h, line)
  end
end
out[dropped] = int(out[dropped])
return out
