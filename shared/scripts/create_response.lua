-- Begins a response that the client asked for.
-- KEYS: session, out, response, llm jobs, items, order
-- ARGV: …, attachment, request, response id, item id, item, message, job
-- Returns 'ok', 'active', 'gone' or 'detached'.
local session, out, response, llm, items, order = unpack(KEYS)
local settled, request = admit(session)
if settled then return settled end
local keys = {
  session = session, out = out, response = response, llm = llm, items = items, order = order,
}
local status = create_response(keys, '', arg(), arg(), arg(), arg(), arg())
if status == 'ok' then redis.call('HSET', session, 'requests', request) end
return status
