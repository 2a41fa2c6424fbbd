-- Replaces an item by another version of it.
-- KEYS: session, out, items
-- ARGV: …, attachment, request, item id, item, message
-- Returns 'ok', 'missing', 'gone' or 'detached'.
local session, out, items = unpack(KEYS)
local settled, request = admit(session)
if settled then return settled end
if not replace_item(items, arg(), arg()) then return 'missing' end
redis.call('HSET', session, 'requests', request)
show(session, out, { arg() })
return 'ok'
