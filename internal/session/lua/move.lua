-- Spends a refresh token: a compare-and-set of the session's counter. To 'look' is to tell, by the
-- same rules, whether the token could be spent, and to spend nothing.
-- ARGV: the token's n, now, the grace window, era, client, the rights that the next access token
-- will carry, how many spent tokens are remembered, 'spend' or 'look', how long after a log out
-- everywhere a look works on a session that is ending.
-- Returns 'next' and the successor's n; 'again' and the same for a token that was spent just
-- before; 'good' to a look; or why it is refused.
local n, now, grace = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local era, client, rights = ARGV[4], ARGV[5], ARGV[6]
local most, look, retry = tonumber(ARGV[7]), ARGV[8] == 'look', tonumber(ARGV[9])

local s = redis.call('HMGET', KEYS[3], 'state', 'client', 'exp', 'era', 'gen', 'n', 'moved',
  'rights', 'spent')
local state, stored, moved = s[1], tonumber(s[6]), tonumber(s[7])
if not state then return {'missing'} end
if s[2] ~= client then return {'client'} end
-- Whoever asked for a log out everywhere that failed halfway may ask again with the same token,
-- although the first try has marked its session.
if state ~= 'active' then
  local cut = tonumber(redis.call('HGET', KEYS[1], 'cut') or '0')
  if not look or state ~= 'ending' or math.abs(now - cut) > retry then return {state} end
end
if now >= tonumber(s[3]) then return {'expired'} end

-- Whatever ends the session marks it in this same step: no other refresh passes from here on.
local function ending(why)
  redis.call('HSET', KEYS[3], 'state', 'ending')
  return {why}
end
if state == 'active' and redis.call('HGET', KEYS[1], 'gen') ~= s[5] then
  return ending('generation')
end
-- A token from the future: Redis has lost the refresh that made it.
if n > stored then return ending('ahead') end

-- times[i] is when the token with n = stored - i was spent, of those that are still good for their
-- successor. The field 'spent' begins with the counter that it belongs to, so that nothing is read
-- into what an issuer of an earlier version left; then it has how long before 'moved' each was
-- spent, the latest first. What is not remembered is reuse.
local times = {}
local function note(t)
  if #times == most or now - t > grace then return false end
  -- Not spent later than now, whatever the clock said then.
  times[#times + 1] = math.min(t, now)
  return true
end
-- A move that lies further ahead than the grace window was made by a clock that has gone back
-- since. Nobody knows how old it is, nor what was before it: so all of them are too old.
if stored > 1 and moved - now <= grace and note(moved) then
  local of, before = string.match(s[9] or '', '^(%d+)(.*)$')
  if of == s[6] then
    for d in string.gmatch(before, '%d+') do
      if not note(moved - tonumber(d)) then break end
    end
  end
end
-- Before the era: reuse ends the session's access tokens, and those of a session that must log in
-- again are still good.
if n < stored and not times[stored - n] then return ending('reuse') end
if s[4] ~= era then return {'era'} end

if look then
  -- Changes nothing, so that the WAIT behind it has a write to wait for.
  redis.call('HSET', KEYS[3], 'state', state)
  return {'good'}
end
-- A session whose tokens have carried more than one set of rights goes by none from then on ('*'):
-- nobody knows which of them the tokens in the field carry. See user.lua.
redis.call('HSET', KEYS[3], 'rights', s[8] == rights and rights or '*')
local next = string.format('%.0f', n + 1)
if n < stored then return {'again', next} end
redis.call('HSET', KEYS[3], 'n', next, 'moved', ARGV[2])
if times[1] then
  local spent = next
  for i = 1, math.min(#times, most - 1) do
    spent = spent .. string.format(' %.0f', now - times[i])
  end
  redis.call('HSET', KEYS[3], 'spent', spent)
else
  redis.call('HDEL', KEYS[3], 'spent')
end
return {'next', next}
