-- Cancels the active response: adds one to the epoch and says so on the control channel.
-- KEYS: session, out
-- ARGV: …, attachment, request, the response that is meant ("" for whichever is active), message
-- Returns 'ok', 'idle' (nothing was active, or another response is), 'gone' or 'detached'.
local session, out = unpack(KEYS)
local settled, request = admit(session)
if settled then return settled end
local meant, message = arg(), arg()
local active = redis.call('HGET', session, 'response')
if active == '' or (meant ~= '' and meant ~= active) then return 'idle' end
interrupt(session)
redis.call('HSET', session, 'requests', request)
show(session, out, { message })
return 'ok'
