-- Cancels the active response: adds one to the epoch and says so on the control channel.
-- KEYS: session, out
-- ARGV: …, message
-- Returns 'ok', 'idle' (nothing was active) or 'gone'.
local session, out = unpack(KEYS)
local active = redis.call('HGET', session, 'response')
if not active then return 'gone' end
if active == '' then return 'idle' end
interrupt(session)
show(session, out, { arg() })
return 'ok'
