-- Renews a session's keys, its active responses' among them: a response may wait for its worker
-- longer than they live without it. A transcription whose job was trimmed, or that nobody could
-- read, never comes: whatever waits for it begins.
-- KEYS: session, out, items, order
-- Returns 'ok' or 'gone'.
local session = KEYS[1]
local active = redis.call('HGET', session, 'response')
if not active then return 'gone' end
for _, key in ipairs(KEYS) do redis.call('EXPIRE', key, ttl_s) end
if active ~= '' then redis.call('EXPIRE', prefix .. ':response:' .. active, ttl_s) end
for _, id in ipairs(names(session, 'asides')) do
  redis.call('EXPIRE', prefix .. ':response:' .. id, ttl_s)
end
for _, entry in ipairs(names(session, 'transcribing')) do
  if #redis.call('XRANGE', prefix .. ':stt', entry, entry) == 0 then transcribed(session, entry) end
end
return 'ok'
