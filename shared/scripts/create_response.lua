-- Begins a response that the client asked for.
-- KEYS: session, out, response, llm jobs, items, order
-- ARGV: …, response id, item id, item, message, job
-- Returns 'ok', 'active' or 'gone'.
local session, out, response, llm, items, order = unpack(KEYS)
if redis.call('EXISTS', session) == 0 then return 'gone' end
local keys = {
  session = session, out = out, response = response, llm = llm, items = items, order = order,
}
return create_response(keys, '', arg(), arg(), arg(), arg(), arg())
