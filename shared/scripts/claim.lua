-- Takes over jobs whose lease ran out; each delivery counts as an attempt.
-- KEYS: jobs
-- ARGV: …, group, consumer, lease in ms, entries
-- Returns {entry, attempt, fields} for each that was still to be had.
local stream = KEYS[1]
local group, consumer, lease_ms, entries = arg(), arg(), arg(), args()
local claimed = {}
for _, entry in ipairs(entries) do
  local row = redis.call('XPENDING', stream, group, 'IDLE', lease_ms, entry, entry, 1)[1]
  if row then
    local got = redis.call('XCLAIM', stream, group, consumer, 0, entry)
    if got[1] then
      claimed[#claimed + 1] = { entry, row[4] + 1, got[1][2] }
    else
      settle(stream, group, entry)  -- trimmed while it was pending
    end
  end
end
return claimed
