-- Adds an item to the conversation, and audio of it to be transcribed; starts no answer.
-- KEYS: session, out, items, order, stt jobs
-- ARGV: …, attachment, request, item id, item, message, "end", "root" or "after",
--       the item it comes after, jobs
-- Returns 'ok', 'exists', 'unknown' (there is no item to come after), 'gone' or 'detached'.
local session, out, items, order, stt = unpack(KEYS)
local settled, request = admit(session)
if settled then return settled end
local item_id, item, message, place, previous = arg(), arg(), arg(), arg(), arg()
if redis.call('HEXISTS', items, item_id) == 1 then return 'exists' end
if place == 'after' and redis.call('HEXISTS', items, previous) == 0 then return 'unknown' end
redis.call('HSET', items, item_id, item)
if place == 'end' then
  redis.call('RPUSH', order, item_id)
elseif place == 'root' then
  bound_items(items, order, ITEMS_LENGTH - 1)  -- else it would be the first to go
  redis.call('LPUSH', order, item_id)
else
  redis.call('LINSERT', order, 'AFTER', previous, item_id)
end
bound_items(items, order, ITEMS_LENGTH)
redis.call('HSET', session, 'requests', request)
show(session, out, { message })
transcribe(session, stt, redis.call('HGET', session, 'epoch'), args())
return 'ok'
