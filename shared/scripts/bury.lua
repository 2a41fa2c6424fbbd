-- Moves a job that failed on every attempt to the dead-letter stream and tells its client.
-- KEYS: jobs, dead, session, out
-- ARGV: …, group, consumer, entry, attempt, epoch, job, error, messages
local stream, dead, session, out = unpack(KEYS)
local group, consumer, entry, attempt, epoch = arg(), arg(), arg(), arg(), arg()
local job, problem, messages = arg(), arg(), args()
if not owns(stream, group, consumer, entry, attempt) then return 'lost' end
settle(stream, group, entry)
redis.call('XADD', dead, 'MAXLEN', '~', DEAD_LENGTH, '*',
           'stage', group, 'm', job, 'epoch', epoch, 'error', problem)
redis.call('XTRIM', dead, 'MINID', string.format('%.0f', (redis.call('TIME')[1] - DEAD_S) * 1000))
redis.call('EXPIRE', dead, DEAD_S)
if redis.call('EXISTS', session) == 0 then return 'gone' end
show(session, out, messages)
if group == 'stt' then transcribed(session, entry) end
return 'ok'
