-- Moves a lane's checkpoint on: a successor replays from this entry, and what lies before it
-- is trimmed.
-- KEYS: fence, checkpoint, lane
-- ARGV: …, token, entry, seconds the checkpoint is kept, ended sessions, then state pairs
-- Returns 'ok' or 'fenced'.
local fence, checkpoint, lane = unpack(KEYS)
local token, entry, keep_s, ended, states = arg(), arg(), arg(), args(), args()
if redis.call('GET', fence) ~= token then return 'fenced' end
redis.call('EXPIRE', checkpoint, keep_s)  -- goes on without memory, which trimming frees
for _, session in ipairs(ended) do redis.call('HDEL', checkpoint, session) end
for i = 1, #states, 2 do redis.call('HSET', checkpoint, states[i], states[i + 1]) end
redis.call('HSET', checkpoint, '@', entry)
redis.call('EXPIRE', checkpoint, keep_s)
redis.call('XTRIM', lane, 'MINID', entry)
return 'ok'
