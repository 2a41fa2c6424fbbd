-- Makes a gateway the one that serves a session. A new session is created; an existing one is
-- taken over only with its token, and the gateway that had it is told.
-- KEYS: session, out
-- ARGV: …, gateway, hash of the token, configuration, message for the earlier gateway,
--       "open" or "resume"
-- Returns 'ok', 'exists' (open of an id in use), 'gone' (resume of none) or 'denied'.
local session, out = unpack(KEYS)
local gateway, token, config, detached, how = arg(), arg(), arg(), arg(), arg()
local known = redis.call('HGET', session, 'token')
if how == 'open' then
  if known then return 'exists' end
  redis.call('HSET', session, 'token', token, 'config', config, 'epoch', 0, 'vad_seq', 0,
             'response', '', 'gateway', gateway)
else
  if not known then return 'gone' end
  if known ~= token then return 'denied' end
  if redis.call('HGET', session, 'gateway') ~= gateway then
    show(session, out, { detached })
    redis.call('HSET', session, 'gateway', gateway)
  end
end
redis.call('EXPIRE', session, ttl_s)
return 'ok'
