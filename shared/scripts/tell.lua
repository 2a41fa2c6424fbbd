-- Shows the client what it asked for.
-- KEYS: session, out
-- ARGV: …, attachment, request, message
-- Returns 'ok', 'gone' or 'detached'.
local session, out = unpack(KEYS)
local settled, request = admit(session)
if settled then return settled end
redis.call('HSET', session, 'requests', request)
show(session, out, { arg() })
return 'ok'
