-- Cancels the active response, or one aside that is named: adds one to the epoch and says so on
-- the control channel, or lets go of the response, so that nothing of it is emitted any more.
-- KEYS: session, out
-- ARGV: …, attachment, request, the response that is meant ("" for the conversation's), messages
-- Returns 'ok', 'idle' (nothing was active, or another response is), 'gone' or 'detached'.
local session, out = unpack(KEYS)
local settled, request = admit(session)
if settled then return settled end
local meant, messages = arg(), args()
if not end_aside(session, meant) then
  local active = redis.call('HGET', session, 'response')
  if active == '' or (meant ~= '' and meant ~= active) then return 'idle' end
  interrupt(session)
end
redis.call('HSET', session, 'requests', request)
show(session, out, messages)
return 'ok'
