-- Cancels the active response: adds one to the epoch and says so on the control channel.
-- KEYS: session, out
-- ARGV: …, the response that is meant ("" for whichever is active), message
-- Returns 'ok', 'idle' (nothing was active, or another response is) or 'gone'.
local session, out = unpack(KEYS)
local meant, message = arg(), arg()
local active = redis.call('HGET', session, 'response')
if not active then return 'gone' end
if active == '' or (meant ~= '' and meant ~= active) then return 'idle' end
interrupt(session)
show(session, out, { message })
return 'ok'
