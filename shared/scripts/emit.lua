-- Emits part of a job's work, if the job is still this consumer's and its response is active.
-- KEYS: jobs, session, out, response, next stage's jobs, items, order
-- ARGV: …, group, consumer, entry, attempt, epoch, response id, position, text, segments,
--       messages, jobs, ids and versions of items that begin
-- Returns 'ok', 'lost', 'gone', 'stale' or 'differs'.
local status = emission(false)
return status
