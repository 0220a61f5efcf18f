-- Changes the user's stamp, so that no login under way ends up in a session, and marks the sessions
-- that do not go by the given credential and rights as ending.
-- ARGV: the new stamp, now, when the user's record may go, the credential, the rights.
-- Returns 'outdated' and what mark returns.
return mark('outdated', function(credential, rights)
  return credential == ARGV[4] and rights == ARGV[5]
end)
