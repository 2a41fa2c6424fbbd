-- Emits what the lane's owner heard in one session: messages, an interruption, a turn's item
-- and its transcription job, together with the state from which a successor goes on.
-- KEYS: fence, checkpoint, session, out, stt jobs, items, order
-- ARGV: …, token, seconds the checkpoint is kept, sequence number, state, messages,
--       "1" to interrupt, its message, item id ("" for none), item, jobs
-- Returns 'ok', 'fenced', 'repeat' (a predecessor emitted it) or 'gone'.
local fence, checkpoint, session, out, stt, items, order = unpack(KEYS)
local token, keep_s, seq, state = arg(), arg(), tonumber(arg()), arg()
local messages, interrupts, cancelled = args(), arg() == '1', arg()
local item_id, item, jobs = arg(), arg(), args()
if redis.call('GET', fence) ~= token then return 'fenced' end
local last = redis.call('HGET', session, 'vad_seq')
if not last then return 'gone' end
if seq <= tonumber(last) then return 'repeat' end
redis.call('HSET', session, 'vad_seq', seq)
redis.call('HSET', checkpoint, session_id, state)
redis.call('EXPIRE', checkpoint, keep_s)
show(session, out, messages)
if interrupts then
  local active = redis.call('HGET', session, 'response')
  interrupt(session)
  if active ~= '' then show(session, out, { cancelled }) end
end
if item_id ~= '' then put_item(items, order, item_id, item) end
transcribe(session, stt, redis.call('HGET', session, 'epoch'), jobs)
return 'ok'
