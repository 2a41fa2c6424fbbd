-- Notes that a process is alive, by the broker's clock, and forgets those that are not.
-- KEYS: workers
-- ARGV: …, id, description ("" to sign off), ms after which a silent one is forgotten
-- Returns how many of the field-and-value pairs were forgotten.
local id, description, forget_ms = arg(), arg(), tonumber(arg())
redis.call('EXPIRE', KEYS[1], 60)  -- goes on without memory
local time = redis.call('TIME')
local now_ms = time[1] * 1000 + math.floor(time[2] / 1000)
if description == '' then
  redis.call('HDEL', KEYS[1], id)
else
  redis.call('HSET', KEYS[1], id, string.format('%.0f', now_ms) .. ' ' .. description)
end
local forgotten = 0
local rows = redis.call('HGETALL', KEYS[1])
for i = 1, #rows, 2 do
  local seen_ms = tonumber(string.match(rows[i + 1], '^%d+'))
  if now_ms - seen_ms > forget_ms then
    redis.call('HDEL', KEYS[1], rows[i])
    forgotten = forgotten + 1
  end
end
redis.call('EXPIRE', KEYS[1], 60)
return forgotten
