-- Takes over jobs whose lease ran out; each delivery counts as an attempt.
-- KEYS: jobs
-- ARGV: …, group, consumer, lease in ms, at most how many
-- Returns {entry, attempt, fields} for each.
local stream = KEYS[1]
local group, consumer, lease_ms, count = arg(), arg(), arg(), arg()
local claimed = {}
for _, row in ipairs(redis.call('XPENDING', stream, group, 'IDLE', lease_ms, '-', '+', count)) do
  local entry, attempt = row[1], row[4] + 1
  local got = redis.call('XCLAIM', stream, group, consumer, 0, entry)
  if got[1] then
    claimed[#claimed + 1] = { entry, attempt, got[1][2] }
  else
    settle(stream, group, entry)  -- trimmed while it was pending
  end
end
return claimed
