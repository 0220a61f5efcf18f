-- Writes the own line, if the log is whole and goes through a position: a write for WAIT to wait
-- for. KEYS[3] holds the issuers' lines. ARGV: epoch, seq, chain, name, line.
-- Returns 1, or 0, with nothing written, when the log is another one.
local h = read_head()
if not whole(h) or not on_log(h, ARGV[1], tonumber(ARGV[2]), ARGV[3]) then return 0 end
redis.call('HSET', KEYS[3], ARGV[4], ARGV[5])
return 1
