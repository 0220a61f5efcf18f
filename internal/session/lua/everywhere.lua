-- Changes the user's stamp and marks all of the user's sessions as ending.
-- ARGV: the new stamp, now, when the user's record may go, the time of the log out.
-- Returns 'everywhere' and what mark returns.
redis.call('HSET', KEYS[1], 'cut', cut(ARGV[4]))
return mark('everywhere', function() return false end)
