-- Moves a lane's checkpoint on: a successor replays from this entry, and what lies before it
-- is trimmed. A checkpoint that arrives late, sent again after a lost reply, takes nothing back.
-- KEYS: fence, checkpoint, lane
-- ARGV: …, token, entry, seconds the checkpoint is kept, ended sessions, then for each state its
--       session, the number of the session's last event before it, and the state
-- Returns 'ok' or 'fenced'.
local fence, checkpoint, lane = unpack(KEYS)
local token, entry, keep_s, ended, states = arg(), arg(), arg(), args(), args()

local function precedes(one, other)
  local one_ms, one_number = string.match(one, '(%d+)-(%d+)')
  local other_ms, other_number = string.match(other, '(%d+)-(%d+)')
  if one_ms ~= other_ms then return tonumber(one_ms) < tonumber(other_ms) end
  return tonumber(one_number) < tonumber(other_number)
end

if redis.call('GET', fence) ~= token then return 'fenced' end
redis.call('EXPIRE', checkpoint, keep_s)  -- goes on without memory, which trimming frees
for _, session in ipairs(ended) do redis.call('HDEL', checkpoint, session) end
local reached = redis.call('HGET', checkpoint, '@')
if reached and precedes(entry, reached) then return 'ok' end
for i = 1, #states, 3 do
  local session, seq, state = states[i], tonumber(states[i + 1]), states[i + 2]
  local emitted = redis.call('HGET', prefix .. ':session:' .. session, 'vad_seq')
  -- from before an event, it would have that event heard again
  if not emitted or tonumber(emitted) <= seq then redis.call('HSET', checkpoint, session, state) end
end
redis.call('HSET', checkpoint, '@', entry)
redis.call('EXPIRE', checkpoint, keep_s)
redis.call('XTRIM', lane, 'MINID', entry)
return 'ok'
