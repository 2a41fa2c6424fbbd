-- Emits part of a job's work, if the job is still this consumer's and its epoch the session's.
-- KEYS: jobs, session, out, response, next stage's jobs
-- ARGV: …, group, consumer, entry, epoch, position, text, segments, messages, jobs
local status = emission()
return status
