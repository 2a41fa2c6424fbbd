-- Ends a session: nothing of it remains, and whatever still works for it finds it gone.
-- KEYS: session, out, items, order
-- ARGV: …, attachment, request
-- Returns 'ok', 'gone' or 'detached'.
local session = KEYS[1]
local settled = admit(session)
if settled then return settled end
redis.call('EXPIRE', session, ttl_s)  -- goes on without memory, which it frees
local active = redis.call('HGET', session, 'response')
if active ~= '' then redis.call('DEL', prefix .. ':response:' .. active) end
for _, id in ipairs(names(session, 'asides')) do
  redis.call('DEL', prefix .. ':response:' .. id)
end
redis.call('PUBLISH', prefix .. ':control', session_id .. ' ' .. redis.call('HINCRBY', session, 'epoch', 1))
redis.call('DEL', unpack(KEYS))
return 'ok'
