-- Adds an item to the conversation, or replaces it.
-- KEYS: session, items, order
-- ARGV: …, item id, item
local session, items, order = unpack(KEYS)
if redis.call('EXISTS', session) == 0 then return 'gone' end
put_item(items, order, arg(), arg())
return 'ok'
