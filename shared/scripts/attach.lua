-- Makes a gateway the one that serves a session. A new session is created; an existing one is
-- taken over only with its token, and whoever served it before is told.
-- KEYS: session, out
-- ARGV: …, gateway, attachment, hash of the token, configuration, message for the one before,
--       "open" or "resume"
-- Returns 'ok', 'exists' (open of an id in use), 'gone' (resume of none) or 'denied'.
local session, out = unpack(KEYS)
local gateway, attachment, token, config, detached, how = arg(), arg(), arg(), arg(), arg(), arg()
local known, serving = unpack(redis.call('HMGET', session, 'token', 'attachment'))
if known and serving == attachment then return 'ok' end  -- the reply got lost
if how == 'open' then
  if known then return 'exists' end
  local opened_s = redis.call('TIME')[1]
  redis.call('HSET', session, 'token', token, 'config', config, 'epoch', 0, 'vad_seq', 0,
             'response', '', 'requests', 0, 'trimmed', '0-0', 'asides', '', 'transcribing', '',
             'opened', opened_s)
else
  if not known then return 'gone' end
  if known ~= token then return 'denied' end
  show(session, out, { detached })
end
redis.call('HSET', session, 'gateway', gateway, 'attachment', attachment)
redis.call('EXPIRE', session, ttl_s)
return 'ok'
