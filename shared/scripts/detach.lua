-- A gateway lets go of a session, which waits for its client to come back.
-- KEYS: session
-- ARGV: …, attachment, request
-- Returns 'ok', 'gone' or 'detached'.
local session = KEYS[1]
local settled = admit(session)
if settled then return settled end
redis.call('HDEL', session, 'gateway')
return 'ok'
