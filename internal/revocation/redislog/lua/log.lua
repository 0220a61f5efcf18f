-- The log and its head, as every script sees them. KEYS[1] is the log, KEYS[2] the head.
local LOG, HEAD = KEYS[1], KEYS[2]

local function int(n) return string.format('%.0f', n) end

local function now()
  local t = redis.call('TIME')
  return tonumber(t[1]) * 1000 + math.floor(tonumber(t[2]) / 1000)
end

local function field(list, name)
  for i = 1, #list, 2 do
    if list[i] == name then return list[i + 1] end
  end
  return nil
end

-- An entry is two fields: e, its body, which is nine fields separated by tabs, and c, its chain.
local function chain_after(previous, seq, body)
  return redis.sha1hex(previous .. ':' .. int(seq) .. ':' .. body)
end

local function expires_of(body)
  return tonumber(string.match(body, '^[^\t]*\t[^\t]*\t[^\t]*\t[^\t]*\t[^\t]*\t(%d+)\t'))
end

-- chain_at is the chain of the entry at seq, or nil if it is not there.
local function chain_at(seq)
  local id = int(seq) .. '-0'
  local found = redis.call('XRANGE', LOG, id, id)
  if found[1] then return field(found[1][2], 'c') end
  return nil
end

local function write(seq, chain, body)
  redis.call('XADD', LOG, int(seq) .. '-0', 'e', body, 'c', chain)
end

-- read_head is the head, or nil if it is missing or not one.
local function read_head()
  local h = redis.pcall('HMGET', HEAD, 'epoch', 'seq', 'chain', 'first', 'beat', 'mending',
                        'max_token_lifetime', 'era')
  if h.err then return nil end
  local seq, first = tonumber(h[2] or ''), tonumber(h[4] or '')
  if not (h[1] and h[3] and seq and first) then return nil end
  return {epoch = h[1], seq = seq, chain = h[3], first = first, beat = tonumber(h[5] or ''),
          mending = tonumber(h[6] or '') or 0, life = tonumber(h[7] or '') or 0, era = h[8]}
end

-- whole reports whether log and head are both there and nothing is missing between first and seq.
local function whole(h)
  if not h then return false end
  local n = redis.pcall('XLEN', LOG)
  return type(n) == 'number' and n > 0 and n == h.seq - h.first + 1 and chain_at(h.seq) == h.chain
end

-- begin starts a new epoch: random is its 128 bits, which the caller passes in.
local function begin(random, t)
  local body = table.concat({'1', 'epoch', '', random, '0', int(t), '', '', int(t)}, '\t')
  local chain = chain_after(redis.sha1hex(random), 1, body)
  redis.call('DEL', LOG)
  write(1, chain, body)
  redis.call('HSET', HEAD, 'epoch', random, 'seq', '1', 'chain', chain, 'first', '1')
end

-- ensure returns the head of a whole log, whatever was there. A head that was missing, or has had
-- no heartbeat for longer than an entry lives, begins a new era; believed is what the time should
-- be by the caller's account, or 0: a clock that has leapt ahead makes no heartbeat old. lifetime
-- is the caller's max_token_lifetime: the head has the largest.
local function ensure(random, lifetime, skew, t, believed)
  local h = read_head()
  if not h then redis.call('DEL', HEAD) end
  local at = believed > 0 and math.min(t, believed) or t
  local fresh = h and h.era and h.beat and at - h.beat <= math.max(h.life, lifetime) + 2 * skew
  local intact = whole(h)
  if intact and fresh and h.life >= lifetime then return h end
  if not intact then begin(random, t) end
  if not h or h.life < lifetime then
    redis.call('HSET', HEAD, 'max_token_lifetime', int(lifetime))
  end
  if not fresh then redis.call('HSET', HEAD, 'era', random, 'beat', int(t)) end
  return read_head()
end

-- on_log reports whether a process that stands at a position is on this log. Its entry there may be
-- trimmed: then only the head's own position is known.
local function on_log(h, epoch, seq, chain)
  if epoch ~= h.epoch or seq < 1 then return false end
  return chain_at(seq) == chain or (seq == h.seq and chain == h.chain)
end

-- lies is on_log for whoever reads lines: h may be nil, and anybody may have written the position.
-- It returns '1' or '0'.
local function lies(h, epoch, seq, chain)
  -- Up to 15 digits are a number that is exact.
  return h and epoch and #seq <= 15 and on_log(h, epoch, tonumber(seq), chain) and '1' or '0'
end

local function line_lies(h, line) return lies(h, string.match(line, '^(%x+) (%d+) (%x+) ')) end

-- asked returns what lies does of the positions in ARGV from an index on: epoch, seq, chain, ...
local function asked(h, from)
  local out = {}
  for i = from, #ARGV, 3 do out[#out + 1] = lies(h, ARGV[i], ARGV[i + 1], ARGV[i + 2]) end
  return out
end
