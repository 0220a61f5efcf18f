-- Appends entries. KEYS[3] holds what sessions are checked against: cutoffs by their time, and
-- sessions by when they were ended, these only where there is a KEYS[4], the same key: on a
-- Cluster.
-- ARGV: random bits, max_token_lifetime, clock_skew, time to keep cutoffs, 'new' or 'again',
-- expected head (epoch, seq, chain; only for 'again', but always there), for how long to mark the
-- log as mending, the time up to which entries have expired by the issuer's account (0: not known),
-- what the time should be by it (0: not known), then the body of each entry, one argument each:
-- nine fields separated by tabs.
-- Returns status, epoch, place of the first entry, place of the last, the chain before the first,
-- time, the head's max_token_lifetime. Only with the status OK has it appended anything.
local CUTOFFS = KEYS[3]
local t, lifetime, skew = now(), tonumber(ARGV[2]), tonumber(ARGV[3])
local h = ensure(ARGV[1], lifetime, skew, t, tonumber(ARGV[11]))
local again = ARGV[5] == 'again'

local before = h.chain
local function answer(status, first)
  return {status, h.epoch, int(first), int(h.seq), before, int(t), int(h.life)}
end

-- What is missing was found by a head, and may have been appended since by another issuer.
if again and (h.epoch ~= ARGV[6] or h.seq ~= tonumber(ARGV[7]) or h.chain ~= ARGV[8]) then
  return answer('MOVED', 0)
end
-- An entry must outlive every token it speaks of. One that is appended again keeps its expiry.
for i = 12, #ARGV do
  if not again and expires_of(ARGV[i]) < t + h.life + 2 * skew then return answer('EARLY', 0) end
end

-- remember keeps a cutoff, and on a Cluster the end of a session, for as long as a session that
-- began before it can live: the session's own record may lie on another shard there, which can lose
-- the end that the log has not lost.
local function remember(body)
  local kind, issuer, value, cutoff =
    string.match(body, '^1\t(%a+)\t([^\t]*)\t([^\t]*)\t(%d+)\t')
  if kind == 'sid' and not KEYS[4] then return end
  if kind == 'sid' then cutoff = string.match(body, '\t(%d+)$') end
  if cutoff == '0' then return end
  local member = kind .. ':' .. int(#issuer) .. ':' .. issuer .. ':' .. value
  redis.call('ZADD', CUTOFFS, 'GT', cutoff, member)
end

-- forget drops what is older than any session, a bounded number at a time.
local function forget()
  local until_then = int(math.min(t, tonumber(ARGV[10])) - tonumber(ARGV[4]))
  local old = redis.call('ZRANGE', CUTOFFS, '-inf', until_then, 'BYSCORE', 'LIMIT', 0, 2000)
  if #old > 0 then redis.call('ZREM', CUTOFFS, unpack(old)) end
end

local first = h.seq + 1
for i = 12, #ARGV do
  h.seq = h.seq + 1
  h.chain = chain_after(h.chain, h.seq, ARGV[i])
  write(h.seq, h.chain, ARGV[i])
  remember(ARGV[i])
end
forget()
redis.call('HSET', HEAD, 'seq', int(h.seq), 'chain', h.chain)
if tonumber(ARGV[9]) > 0 then
  redis.call('HSET', HEAD, 'mending', int(math.max(h.mending, t + tonumber(ARGV[9]))))
end
return answer('OK', first)
