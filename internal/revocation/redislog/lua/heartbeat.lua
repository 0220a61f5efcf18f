-- An issuer's heartbeat. KEYS[3] holds the issuers' lines.
-- ARGV: random bits, max_token_lifetime, clock_skew, name, line, own position (epoch, seq, chain),
-- '1' if live entries are missing from the log, '1' if any are held, the place up to which its
-- appends have stored entries in its epoch, settle, most entries to trim, the time up to which
-- entries have expired by the issuer's account (0: not known), what the time should be by it (0:
-- not known), how many entries of the log are live by it (-1: not known), how many that are not
-- the log may have besides as many as are.
-- Returns time, epoch, seq, chain, first, mending, max_token_lifetime, era, the chain at the own
-- place or '', then all lines, the own one as it was given: name, line, ...
local LINES = KEYS[3]
local t, skew = now(), tonumber(ARGV[3])
local h = ensure(ARGV[1], tonumber(ARGV[2]), skew, t, tonumber(ARGV[15]))
local epoch, seq, chain = ARGV[6], tonumber(ARGV[7]), ARGV[8]
local missing, holds, stored = ARGV[9] == '1', ARGV[10] == '1', tonumber(ARGV[11])
local settle, most = tonumber(ARGV[12]), tonumber(ARGV[13])
local over = math.min(t, tonumber(ARGV[14]))
local live, spare = tonumber(ARGV[16]), tonumber(ARGV[17])

local mine = seq > 0 and chain_at(seq) or ''

-- Whether the log may lack what the issuer holds. Judged before entries are carried on, which makes
-- the log longer.
local on_it = epoch == h.epoch and (mine == chain or (seq == h.seq and chain == h.chain))
local lacks = missing or not on_it or stored > h.seq

-- aged is the place up to which all was written a token's life ago, or longer. The head keeps it,
-- with the epoch, and with the place and the time from which the next is waited for.
local function aged()
  local kept = redis.call('HGET', HEAD, 'aged') or ''
  local of, old, coming, since = string.match(kept, '^(%x+) (%d+) (%d+) (%d+)$')
  old, coming = tonumber(old), tonumber(coming)
  local passed = of == h.epoch and t - tonumber(since)
  if passed and passed >= 0 and passed < h.life + 2 * skew then return old end
  -- A clock that has gone back lets it be waited for anew.
  old = passed and (passed < 0 and old or coming) or 0
  redis.call('HSET', HEAD, 'aged', table.concat({h.epoch, int(old), int(h.seq), int(t)}, ' '))
  return old
end

-- Trims what expired a clock_skew ago, by Redis' clock and by the issuer's account, from the oldest
-- on, and never the newest entry: the log's key must exist while the log is whole. An entry that
-- will outlive those behind it would keep all of them. Once more of the log is dead than alive, it
-- is carried on: written again at the end as it is. It is taken only from where nobody stands who
-- has followed the log within a token's life. The first of an epoch, which says so, stays there.
local function trim()
  local last, old = h.seq, aged()
  local enough = live >= 0 and not lacks and 2 * live + spare or math.huge
  local function expired(entry) return expires_of(field(entry[2], 'e')) + skew <= over end
  local function outlives(entry)
    return expires_of(field(entry[2], 'e')) > t + h.life + 2 * skew
  end
  local function carried(entry, at)
    return at > 1 and at <= old and h.seq - at + 1 > enough and outlives(entry)
  end
  local oldest = redis.call('XRANGE', LOG, '-', '+', 'COUNT', 1)[1]
  if not expired(oldest) and not carried(oldest, h.first) then return end
  local page, ids = redis.call('XRANGE', LOG, '-', '+', 'COUNT', most), {}
  for i = 1, #page do
    local at = h.first + #ids
    if at >= last then break end
    if not expired(page[i]) then
      if not carried(page[i], at) then break end
      local body = field(page[i][2], 'e')
      h.seq = h.seq + 1
      h.chain = chain_after(h.chain, h.seq, body)
      write(h.seq, h.chain, body)
    end
    ids[#ids + 1] = page[i][1]
  end
  if #ids == 0 then return end
  redis.call('XDEL', LOG, unpack(ids))
  h.first = h.first + #ids
  redis.call('HSET', HEAD, 'first', int(h.first))
  redis.call('HSET', HEAD, 'seq', int(h.seq), 'chain', h.chain)
end
trim()

-- No mark is ever set further ahead than settle. One that is was set while the clock was ahead: it
-- starts again from now.
if h.mending > t + settle then
  h.mending = t + settle
  redis.call('HSET', HEAD, 'mending', int(h.mending))
end

-- In this very step, so that no gate's heartbeat between this one and the append counts.
if holds and lacks then
  h.mending = math.max(h.mending, t + settle)
  redis.call('HSET', HEAD, 'mending', int(h.mending))
end
redis.call('HSET', HEAD, 'beat', int(t))
redis.call('HSET', LINES, ARGV[4], ARGV[5])

local out = {int(t), h.epoch, int(h.seq), h.chain, int(h.first), int(h.mending), int(h.life), h.era,
             mine}
local lines = redis.call('HGETALL', LINES)
for i = 1, #lines do out[#out + 1] = lines[i] end
return out
