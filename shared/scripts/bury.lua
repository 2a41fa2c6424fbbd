-- Moves a job that failed on every attempt to the dead-letter stream and tells its client.
-- KEYS: jobs, dead, session, out
-- ARGV: …, group, consumer, entry, job, epoch, error, messages
local stream, dead, session, out = unpack(KEYS)
local group, consumer, entry = arg(), arg(), arg()
local job, epoch, problem, messages = arg(), arg(), arg(), args()
if not owns(stream, group, consumer, entry) then return 'lost' end
settle(stream, group, entry)
redis.call('XADD', dead, 'MAXLEN', '~', DEAD_LENGTH, '*',
           'stage', group, 'm', job, 'epoch', epoch, 'error', problem)
if redis.call('EXISTS', session) == 0 then return 'gone' end
show(session, out, messages)
return 'ok'
