-- An issuer's heartbeat. KEYS[3] holds the issuers' lines.
-- ARGV: random bits, max_token_lifetime, clock_skew, name, line, own position (epoch, seq, chain),
-- '1' if live entries are missing from the log, '1' if any are held, the place up to which its
-- appends have stored entries in its epoch, settle, most entries to trim, the time up to which
-- entries have expired by the issuer's account (0: not known), what the time should be by it (0:
-- not known).
-- Returns time, epoch, seq, chain, first, mending, max_token_lifetime, era, the chain at the own
-- place or '', the log's length, then all lines, the own one as it was given: name, line, ...
local LINES = KEYS[3]
local t, skew = now(), tonumber(ARGV[3])
local h = ensure(ARGV[1], tonumber(ARGV[2]), skew, t, tonumber(ARGV[15]))
local epoch, seq, chain = ARGV[6], tonumber(ARGV[7]), ARGV[8]
local missing, holds, stored = ARGV[9] == '1', ARGV[10] == '1', tonumber(ARGV[11])
local settle, most = tonumber(ARGV[12]), tonumber(ARGV[13])
local over = math.min(t, tonumber(ARGV[14]))

local mine = seq > 0 and chain_at(seq) or ''

-- Trims what expired a clock_skew ago, by Redis' clock and by the issuer's account, from the oldest
-- on, and never the newest entry: the log's key must exist while the log is whole.
local function expired(entry) return expires_of(field(entry[2], 'e')) + skew <= over end
local function trim()
  local oldest = redis.call('XRANGE', LOG, '-', '+', 'COUNT', 1)
  if h.first >= h.seq or not expired(oldest[1]) then return end
  local page = redis.call('XRANGE', LOG, '-', '+', 'COUNT', most)
  local ids = {}
  for i = 1, #page do
    if h.first + #ids >= h.seq or not expired(page[i]) then break end
    ids[#ids + 1] = page[i][1]
  end
  redis.call('XDEL', LOG, unpack(ids))
  h.first = h.first + #ids
  redis.call('HSET', HEAD, 'first', int(h.first))
end
trim()

-- No mark is ever set further ahead than settle. One that is was set while the clock was ahead: it
-- starts again from now.
if h.mending > t + settle then
  h.mending = t + settle
  redis.call('HSET', HEAD, 'mending', int(h.mending))
end

local on_it = epoch == h.epoch and (mine == chain or (seq == h.seq and chain == h.chain))
-- In this very step, so that no gate's heartbeat between this one and the append counts.
if holds and (missing or not on_it or stored > h.seq) then
  h.mending = math.max(h.mending, t + settle)
  redis.call('HSET', HEAD, 'mending', int(h.mending))
end
redis.call('HSET', HEAD, 'beat', int(t))
redis.call('HSET', LINES, ARGV[4], ARGV[5])

local out = {int(t), h.epoch, int(h.seq), h.chain, int(h.first), int(h.mending), int(h.life), h.era,
             mine, int(redis.call('XLEN', LOG))}
local lines = redis.call('HGETALL', LINES)
for i = 1, #lines do out[#out + 1] = lines[i] end
return out
