-- Ends a response once its gateway has played it out or cut it off: its item becomes what the
-- client heard, and the next response may begin. What came out before the response before it is
-- trimmed, as far as no response aside was active then: a client that resumes is not so far behind.
-- KEYS: session, out, response, items
-- ARGV: …, attachment, request, response id, item id, item, last entry of out that was taken in,
--       "1" for aside
-- Returns 'ok', 'gone' or 'detached'.
local session, out, response, items = unpack(KEYS)
local settled = admit(session)
if settled then return settled end
redis.call('EXPIRE', session, ttl_s)  -- goes on without memory, which it frees
local response_id, item_id, item, entry = arg(), arg(), arg(), arg()
if arg() == '1' then
  end_aside(session, response_id)
  return 'ok'
end
local active, ended, ended_at = unpack(
  redis.call('HMGET', session, 'response', 'ended', 'ended_at'))
if active == response_id then redis.call('HSET', session, 'response', '') end
redis.call('DEL', response)
if ended ~= response_id then  -- else the gateway before ended it, and what it wrote stands
  replace_item(items, item_id, item)
  redis.call('HSET', session, 'ended', response_id)
  if ended_at then
    redis.call('HSET', session, 'trimmed', ended_at)
    redis.call('XTRIM', out, 'MINID', ended_at)
  end
  if #names(session, 'asides') == 0 then redis.call('HSET', session, 'ended_at', entry) end
end
return 'ok'
