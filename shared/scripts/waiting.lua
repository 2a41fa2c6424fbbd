-- Looks what waits in a stage's stream.
-- KEYS: stream
-- ARGV: …, group
-- Returns the broker's time in ms and the oldest entry that nobody has taken, '' if there is none.
local stream, group = KEYS[1], arg()
local time = redis.call('TIME')
local oldest = ''
local groups = redis.call('EXISTS', stream) == 1 and redis.call('XINFO', 'GROUPS', stream) or {}
for _, each in ipairs(groups) do
  local fields = {}
  for i = 1, #each, 2 do fields[each[i]] = each[i + 1] end
  if fields.name == group then
    local rows = redis.call('XRANGE', stream, '(' .. fields['last-delivered-id'], '+', 'COUNT', 1)
    if rows[1] then oldest = rows[1][1] end
  end
end
return { time[1] * 1000 + math.floor(time[2] / 1000), oldest }
