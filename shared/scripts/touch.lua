-- Renews a session's keys, its active responses' among them: a response may wait for its worker
-- longer than they live without it.
-- KEYS: session, out, items, order
-- Returns 'ok' or 'gone'.
local active = redis.call('HGET', KEYS[1], 'response')
if not active then return 'gone' end
for _, key in ipairs(KEYS) do redis.call('EXPIRE', key, ttl_s) end
if active ~= '' then redis.call('EXPIRE', prefix .. ':response:' .. active, ttl_s) end
for _, id in ipairs(asides(KEYS[1])) do redis.call('EXPIRE', prefix .. ':response:' .. id, ttl_s) end
return 'ok'
