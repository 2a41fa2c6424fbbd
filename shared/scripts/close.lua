-- Ends a session: nothing of it remains, and whatever still works for it finds it gone.
-- KEYS: session, out, items, order
-- ARGV: …, attachment, request
-- Returns 'ok', 'gone' or 'detached'.
local session = KEYS[1]
local settled = admit(session)
if settled then return settled end
redis.call('EXPIRE', session, ttl_s)  -- goes on without memory, which it frees
remove(session, KEYS)
return 'ok'
