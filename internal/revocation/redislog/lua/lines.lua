-- Reads the lines of KEYS[3] and tells which of their positions lie on the log as it is now.
-- Returns epoch, seq and time, then for each line its name, the line, '1' if it is on the log.
local h = read_head()
local out = {h and h.epoch or '', h and int(h.seq) or '0', int(now())}
if redis.call('HLEN', KEYS[3]) > 10000 then return redis.error_reply('ERR more than 10000 lines') end
local lines = redis.call('HGETALL', KEYS[3])
for i = 1, #lines, 2 do
  local epoch, seq, chain = string.match(lines[i + 1], '^(%x+) (%d+) (%x+) ')
  local on = h and epoch and on_log(h, epoch, tonumber(seq), chain)
  out[#out + 1] = lines[i]
  out[#out + 1] = lines[i + 1]
  out[#out + 1] = on and '1' or '0'
end
return out
