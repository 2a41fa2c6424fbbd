-- Replaces a session's configuration; what is made from here on follows it.
-- KEYS: session, out
-- ARGV: …, attachment, request, configuration, message
-- Returns 'ok', 'gone' or 'detached'.
local session, out = unpack(KEYS)
local settled, request = admit(session)
if settled then return settled end
redis.call('HSET', session, 'config', arg(), 'requests', request)
show(session, out, { arg() })
return 'ok'
