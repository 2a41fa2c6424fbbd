-- Takes an item out of the conversation; goes on without memory, which it frees.
-- KEYS: session, out, items, order
-- ARGV: …, attachment, request, item id, message
-- Returns 'ok', 'missing', 'gone' or 'detached'.
local session, out, items, order = unpack(KEYS)
local settled, request = admit(session)
if settled then return settled end
local item_id, message = arg(), arg()
if redis.call('HDEL', items, item_id) == 0 then return 'missing' end
redis.call('LREM', order, 1, item_id)
redis.call('HSET', session, 'requests', request)
show(session, out, { message })
return 'ok'
