-- Emits the last of a job's work and acknowledges the job, in one step. A stale job is
-- acknowledged too: nobody waits for it.
-- KEYS: jobs, session, out, response, next stage's jobs, items, order
-- ARGV: as emit, then item id ("" for none), item
-- Returns as emit; nothing was done if 'lost' or 'differs'.
local status, job = emission(true)
if status == 'lost' or status == 'differs' then return status end
local item_id, item = arg(), arg()
if status == 'ok' then replace_item(KEYS[6], item_id, item) end
settle(KEYS[1], job.group, job.entry)
return status
