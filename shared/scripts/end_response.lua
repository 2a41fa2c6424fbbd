-- Ends a response once its gateway has played it out or cut it off: its item becomes what the
-- client heard, and the next response may begin.
-- KEYS: session, response, items
-- ARGV: …, response id, item id, item
local session, response, items = unpack(KEYS)
local response_id, item_id, item = arg(), arg(), arg()
if redis.call('HGET', session, 'response') == response_id then
  redis.call('HSET', session, 'response', '')
end
if redis.call('HEXISTS', items, item_id) == 1 then redis.call('HSET', items, item_id, item) end
redis.call('DEL', response)
return 'ok'
