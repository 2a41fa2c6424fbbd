-- Begins a response that the client asked for, in the conversation or aside of it.
-- KEYS: session, out, response, llm jobs, items, order
-- ARGV: …, attachment, request, "1" for aside, response id, message, job
-- Returns 'ok', 'active' (another response is, or too many are aside), 'gone' or 'detached'.
local session, out, response, llm, items, order = unpack(KEYS)
local settled, request = admit(session)
if settled then return settled end
local keys = {
  session = session, out = out, response = response, llm = llm, items = items, order = order,
}
local status
if arg() == '1' then
  status = create_aside(keys, arg(), arg(), arg())
else
  status = create_response(keys, '', arg(), arg(), arg())
end
if status == 'ok' then redis.call('HSET', session, 'requests', request) end
return status
