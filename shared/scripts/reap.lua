-- Removes consumers that have not asked for work for a while and have none pending.
-- KEYS: jobs
-- ARGV: …, group, silent for at least this many ms
-- Returns how many.
local stream = KEYS[1]
local group, silent_ms = arg(), tonumber(arg())
local reaped = 0
for _, row in ipairs(redis.call('XINFO', 'CONSUMERS', stream, group)) do
  local consumer = {}
  for i = 1, #row, 2 do consumer[row[i]] = row[i + 1] end
  if consumer.pending == 0 and consumer.idle >= silent_ms then
    redis.call('XGROUP', 'DELCONSUMER', stream, group, consumer.name)
    reaped = reaped + 1
  end
end
return reaped
