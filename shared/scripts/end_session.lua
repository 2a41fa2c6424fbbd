-- Ends a session from outside. Whoever serves it is told by what is left of its output, whatever
-- works for it finds it gone, and nobody can go on with it.
-- KEYS: session, out, items, order, owner
-- ARGV: …, message
-- Returns 'ok' or 'gone'.
local TOLD_S = 5  -- for how long the news of it can be read
local session, out, items, order, owner = unpack(KEYS)
if redis.call('EXPIRE', session, ttl_s) == 0 then return 'gone' end
show(session, out, { arg() })
redis.call('EXPIRE', out, TOLD_S)
remove(session, { session, items, order, owner })
return 'ok'
