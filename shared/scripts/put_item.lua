-- Adds an item at the end of the conversation, or replaces its earlier version.
-- KEYS: session, out, items, order
-- ARGV: …, attachment, request, item id, item, message
-- Returns 'ok', 'gone' or 'detached'.
local session, out, items, order = unpack(KEYS)
local settled, request = admit(session)
if settled then return settled end
put_item(items, order, arg(), arg())
redis.call('HSET', session, 'requests', request)
show(session, out, { arg() })
return 'ok'
