-- Replaces a session's configuration; what is made from here on follows it.
-- KEYS: session
-- ARGV: …, configuration
-- Returns 'ok' or 'gone'.
local session = KEYS[1]
if redis.call('EXISTS', session) == 0 then return 'gone' end
redis.call('HSET', session, 'config', arg())
redis.call('EXPIRE', session, ttl_s)
return 'ok'
