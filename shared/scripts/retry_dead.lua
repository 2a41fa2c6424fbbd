-- Puts a dead-lettered job back at the end of its stage's stream, where it is new: its attempts
-- are counted from one again.
-- KEYS: dead, jobs, session, response
-- ARGV: …, entry, response the job is part of ("" for a transcription, which outlives any)
-- Returns 'ok', 'missing' (it is not among the dead any more), 'gone' (its session ended) or
-- 'over' (its response did).
local dead, jobs, session, response = unpack(KEYS)
local entry, response_id = arg(), arg()
local found = redis.call('XRANGE', dead, entry, entry)[1]
if not found then return 'missing' end
local letter = {}
for i = 1, #found[2], 2 do letter[found[2][i]] = found[2][i + 1] end
local epoch, active = unpack(redis.call('HMGET', session, 'epoch', 'response'))
if not epoch then return 'gone' end
if response_id == '' then
  transcribe(session, jobs, letter.epoch, { letter.m })
elseif letter.epoch == NEVER_STALE and redis.call('EXISTS', response) == 1
    or epoch == letter.epoch and active == response_id then
  enqueue(jobs, letter.epoch, { letter.m })
else
  return 'over'
end
redis.call('XDEL', dead, entry)
return 'ok'
