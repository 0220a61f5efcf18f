package session

// Every script gets the same three keys (the user's record, the index of the user's sessions, one
// session's record; the last may be unused) and writes at least one field whenever its answer will
// be acted upon, so that the WAIT behind it speaks of this call (redisconn.WriteAndWait). An answer
// that only refuses may have written nothing.
//
// {tag}:user      gen: moves at each log out everywhere; cut: the time of the last one
// {tag}:sessions  sorted set: the ids' random parts by expiry; holds sessions that are active or
// ending {tag}:s:<id>    state, sub, client, tenant, amr, scope, cred, rights, begun, exp, era,
// gen, cut (the user's, when it began),
//
//	n (the counter that works next), moved (when it last moved), spent (when it moved before that)
//
// All times are Unix milliseconds. They come from the caller, who carries the log's clock: the
// scripts of one session may run on several nodes in turn.

var (
	beginScript = newScript(beginSource, []string{"begun"}, []string{"moved", "full"})
	moveScript  = newScript(moveSource,
		[]string{"next", "again", "good", "generation", "ahead", "reuse"},
		[]string{"missing", "client", "expired", "era", "ending", "ended"})
	markScript       = newScript(markSource, []string{"missing", "active", "ending", "ended"}, nil)
	finishScript     = newScript(finishSource, []string{"ended"}, nil)
	everywhereScript = newScript(everywhereSource, []string{"everywhere"}, nil)
	outdatedScript   = newScript(outdatedSource, []string{"outdated"}, nil)
)

// beginSource makes a session, unless the user's generation has moved since it was read. ARGV:
// generation, now ms, expiry ms, most sessions, id's random part, a time that the last log out
// everywhere was not before (0: none), then the record's fields and values.
const beginSource = `
local gen = redis.call('HGET', KEYS[1], 'gen') or '0'
if gen ~= ARGV[1] then return {'moved'} end
redis.call('ZREMRANGEBYSCORE', KEYS[2], '-inf', ARGV[2])
if redis.call('ZCARD', KEYS[2]) >= tonumber(ARGV[4]) then
  return {'full', redis.call('ZRANGE', KEYS[2], 0, 0)[1]}
end
if redis.call('EXISTS', KEYS[3]) == 1 then return {'taken'} end
local cut = string.format('%.0f', math.max(tonumber(redis.call('HGET', KEYS[1], 'cut') or '0'), tonumber(ARGV[6])))
redis.call('HSET', KEYS[3], 'state', 'active', 'gen', gen, 'cut', cut, 'n', '1', 'moved', '0', 'exp', ARGV[3])
for i = 7, #ARGV, 2 do redis.call('HSET', KEYS[3], ARGV[i], ARGV[i + 1]) end
redis.call('HSET', KEYS[1], 'gen', gen, 'cut', cut)
redis.call('ZADD', KEYS[2], ARGV[3], ARGV[5])
redis.call('PEXPIREAT', KEYS[3], ARGV[3])
for i = 1, 2 do
  local left = redis.call('PTTL', KEYS[i])
  if left < tonumber(ARGV[3]) - tonumber(ARGV[2]) then redis.call('PEXPIREAT', KEYS[i], ARGV[3]) end
end
return {'begun', cut}
`

// moveSource spends a refresh token, a compare-and-set of the counter, or looks whether it could be
// spent, by the same rules. A spent token gives its own successor again for the grace window from
// when it was first spent; `spent` remembers that of the last ones, in 64 bytes: the counter they
// belong to, so that nothing is read into what an issuer of an earlier version left, and how long
// before `moved` each was spent, the latest first. Whatever is not remembered is reuse.
//
// What was spent before was not spent later than now, whatever the clock said then; but a move that
// lies further ahead than the grace window was made by a clock that has gone back since: nobody
// knows how old it is, nor what is before it, so they are too old. Reuse is found whatever the era:
// it ends the session's access tokens, and those of a session that must log in again are still
// good. A session whose tokens have carried more than one set of rights goes by none from then on
// (*): nobody knows which of them the tokens in the field carry. To look works on a session that is
// ending, too, for a while after its user was to be logged out everywhere: whoever asked for that
// may ask again. ARGV: n, now ms, grace ms, era, client, rights, how many spent tokens are
// remembered, spend or look, that while in ms.
const moveSource = `
local s = redis.call('HMGET', KEYS[3], 'state', 'client', 'exp', 'era', 'gen', 'n', 'moved', 'rights', 'spent')
if not s[1] then return {'missing'} end
if s[2] ~= ARGV[5] then return {'client'} end
local look = ARGV[8] == 'look'
local now, grace = tonumber(ARGV[2]), tonumber(ARGV[3])
if s[1] ~= 'active' then
  local cut = tonumber(redis.call('HGET', KEYS[1], 'cut') or '0')
  if not look or s[1] ~= 'ending' or math.abs(now - cut) > tonumber(ARGV[9]) then return {s[1]} end
end
if now >= tonumber(s[3]) then return {'expired'} end
local function ending(why)
  redis.call('HSET', KEYS[3], 'state', 'ending')
  return {why}
end
if s[1] == 'active' and redis.call('HGET', KEYS[1], 'gen') ~= s[5] then return ending('generation') end
local n, stored, moved = tonumber(ARGV[1]), tonumber(s[6]), tonumber(s[7])
if n > stored then return ending('ahead') end
local times = {}
local function note(t)
  if #times == tonumber(ARGV[7]) or now - t > grace then return false end
  times[#times + 1] = math.min(t, now)
  return true
end
if stored > 1 and moved - now <= grace and note(moved) then
  local of, before = string.match(s[9] or '', '^(%d+)(.*)$')
  if of == s[6] then
    for d in string.gmatch(before, '%d+') do
      if not note(moved - tonumber(d)) then break end
    end
  end
end
if n < stored and not times[stored - n] then return ending('reuse') end
if s[4] ~= ARGV[4] then return {'era'} end
if look then
  redis.call('HSET', KEYS[3], 'state', s[1])
  return {'good'}
end
local rights = s[8] == ARGV[6] and ARGV[6] or '*'
redis.call('HSET', KEYS[3], 'rights', rights)
local next = string.format('%.0f', n + 1)
if n < stored then return {'again', next} end
redis.call('HSET', KEYS[3], 'n', next, 'moved', ARGV[2])
if times[1] then
  local spent = next
  for i = 1, math.min(#times, tonumber(ARGV[7]) - 1) do spent = spent .. string.format(' %.0f', now - times[i]) end
  redis.call('HSET', KEYS[3], 'spent', spent)
else
  redis.call('HDEL', KEYS[3], 'spent')
end
return {'next', next}
`

// confirmLines have a script that has found nothing to write write all the same, for WAIT to wait
// for. Nothing is left of it.
const confirmLines = `
local function confirm()
  redis.call('HSET', KEYS[3], 'state', 'missing')
  redis.call('DEL', KEYS[3])
end
`

// markSource marks a session as ending and tells what it was. ARGV: id's random part.
const markSource = confirmLines + `
local state = redis.call('HGET', KEYS[3], 'state')
if not state then
  redis.call('ZREM', KEYS[2], ARGV[1])
  confirm()
  return {'missing'}
end
redis.call('HSET', KEYS[3], 'state', state == 'active' and 'ending' or state)
return {state}
`

// finishSource marks sessions as ended. KEYS[3] and all behind it are records, ARGV[2] and all
// behind it their ids' random parts. ARGV[1]: when the records may go, ms.
const finishSource = confirmLines + `
local found = false
for i = 3, #KEYS do
  if redis.call('EXISTS', KEYS[i]) == 1 then
    found = true
    redis.call('HSET', KEYS[i], 'state', 'ended')
    local left = redis.call('HGET', KEYS[i], 'exp')
    if tonumber(left) > tonumber(ARGV[1]) then redis.call('PEXPIREAT', KEYS[i], ARGV[1]) end
  end
  redis.call('ZREM', KEYS[2], ARGV[i - 1])
end
if not found then confirm() end
return {'ended'}
`

// everywhereSource moves the user's generation and marks all of the user's sessions as ending; it
// returns their ids' random parts, each with the state that it was in. ARGV: new generation, cutoff
// ms, expiry of the user's record ms, prefix of records, now ms.
const everywhereSource = `
local cut = math.max(tonumber(redis.call('HGET', KEYS[1], 'cut') or '0'), tonumber(ARGV[2]))
redis.call('HSET', KEYS[1], 'gen', ARGV[1], 'cut', string.format('%.0f', cut))
local left = redis.call('PTTL', KEYS[1])
if left < tonumber(ARGV[3]) - tonumber(ARGV[5]) then redis.call('PEXPIREAT', KEYS[1], ARGV[3]) end
redis.call('ZREMRANGEBYSCORE', KEYS[2], '-inf', ARGV[5])
local found = {'everywhere'}
for _, id in ipairs(redis.call('ZRANGE', KEYS[2], 0, -1)) do
  local key = ARGV[4] .. id
  local state = redis.call('HGET', key, 'state')
  if state then
    redis.call('HSET', key, 'state', state == 'active' and 'ending' or state)
    found[#found + 1] = id
    found[#found + 1] = state
  else
    redis.call('ZREM', KEYS[2], id)
  end
end
return found
`

// outdatedSource moves the user's generation, so that no login under way ends up in a session,
// takes along the sessions that go by the given credential and rights, and marks all others as
// ending; it returns the ids' random parts of those and their states, as everywhereSource does.
// ARGV: new generation, expiry of the user's record ms, prefix of records, now ms, credential,
// rights.
const outdatedSource = `
local gen = redis.call('HGET', KEYS[1], 'gen') or '0'
redis.call('HSET', KEYS[1], 'gen', ARGV[1])
local left = redis.call('PTTL', KEYS[1])
if left < tonumber(ARGV[2]) - tonumber(ARGV[4]) then redis.call('PEXPIREAT', KEYS[1], ARGV[2]) end
redis.call('ZREMRANGEBYSCORE', KEYS[2], '-inf', ARGV[4])
local found = {'outdated'}
for _, id in ipairs(redis.call('ZRANGE', KEYS[2], 0, -1)) do
  local key = ARGV[3] .. id
  local s = redis.call('HMGET', key, 'state', 'gen', 'cred', 'rights')
  if not s[1] then
    redis.call('ZREM', KEYS[2], id)
  elseif s[1] == 'active' and s[2] == gen and s[3] == ARGV[5] and s[4] == ARGV[6] then
    redis.call('HSET', key, 'gen', ARGV[1])
  else
    redis.call('HSET', key, 'state', s[1] == 'active' and 'ending' or s[1])
    found[#found + 1] = id
    found[#found + 1] = s[1]
  end
end
return found
`
