-- Sets how long this consumer's jobs have been idle: 0 renews their lease, the lease's length
-- hands them to whoever claims next. Jobs that are another consumer's are left alone.
-- KEYS: jobs
-- ARGV: …, group, consumer, idle in ms, attempts that do not count (0 or 1), entries
-- Returns the entries that this consumer no longer owns.
local stream = KEYS[1]
local group, consumer, idle_ms, uncounted, entries = arg(), arg(), arg(), arg(), args()
local lost = {}
for _, entry in ipairs(entries) do
  local attempt = owns(stream, group, consumer, entry, '')
  if attempt then
    redis.call('XCLAIM', stream, group, consumer, 0, entry, 'IDLE', idle_ms,
               'RETRYCOUNT', attempt - uncounted, 'JUSTID')
  else
    lost[#lost + 1] = entry
  end
end
return lost
