-- Put before every script: reads the arguments and holds the steps that several scripts share.
--
-- Every script's arguments begin with: how many seconds a session's keys live without activity,
-- the shard's prefix ("parley:{0}") and the session's id.
--
-- A broker out of memory refuses a script at its first write, before anything is done, if that
-- command may take memory; what follows a first write that may not is never refused. Emitting
-- therefore waits for memory, while what keeps hold of work or frees memory goes on: such scripts
-- begin with EXPIRE or XACK.

local OUT_LENGTH = 4096    -- messages a gateway may be behind
local JOBS_LENGTH = 10000  -- jobs a stage may be behind
local ITEMS_LENGTH = 256   -- items a conversation keeps
local DEAD_LENGTH = 1000   -- jobs kept for inspection, and
local DEAD_S = 604800      -- for how long: they hold what people said
local ASIDES = 4           -- responses aside of the conversation at a time
local TRANSCRIPTIONS = 256 -- of a session that responses wait for
-- The epoch of jobs for a response aside: no interruption makes them stale.
local NEVER_STALE = '9007199254740991'

local cursor = 0

local function arg()
  cursor = cursor + 1
  return ARGV[cursor]
end

local function args()
  local list = {}
  for i = 1, tonumber(arg()) do list[i] = arg() end
  return list
end

local ttl_s, prefix, session_id = arg(), arg(), arg()

-- Appends messages to the session's output and rings its gateway.
local function show(session, out, messages)
  if #messages == 0 then return end
  for _, message in ipairs(messages) do
    redis.call('XADD', out, 'MAXLEN', '~', OUT_LENGTH, '*', 'm', message)
  end
  redis.call('EXPIRE', out, ttl_s)
  redis.call('EXPIRE', session, ttl_s)
  local gateway = redis.call('HGET', session, 'gateway')
  if gateway then redis.call('PUBLISH', prefix .. ':bell:' .. gateway, session_id) end
end

-- Gives a stage jobs; returns their entries.
local function enqueue(stream, epoch, jobs)
  local entries = {}
  for i, job in ipairs(jobs) do
    entries[i] =
      redis.call('XADD', stream, 'MAXLEN', '~', JOBS_LENGTH, '*', 'm', job, 'epoch', epoch)
  end
  return entries
end

-- Lets go of the oldest items when there are more than `most`.
local function bound_items(items, order, most)
  while redis.call('LLEN', order) > most do
    redis.call('HDEL', items, redis.call('LPOP', order))
  end
  redis.call('EXPIRE', items, ttl_s)
  redis.call('EXPIRE', order, ttl_s)
end

-- Writes an item at the end of the conversation, or over its earlier version.
local function put_item(items, order, item_id, item)
  if redis.call('HSET', items, item_id, item) == 1 then redis.call('RPUSH', order, item_id) end
  bound_items(items, order, ITEMS_LENGTH)
end

-- Writes an item over its earlier version, if it has one.
local function replace_item(items, item_id, item)
  if redis.call('HEXISTS', items, item_id) == 0 then return false end
  redis.call('HSET', items, item_id, item)
  return true
end

-- The names in a field of a hash.
local function names(key, field)
  local list = {}
  for name in string.gmatch(redis.call('HGET', key, field) or '', '%S+') do
    list[#list + 1] = name
  end
  return list
end

-- Takes a name out of a field of a hash; returns whether it was there.
local function take_out(key, field, name)
  local left, found = {}, false
  for _, each in ipairs(names(key, field)) do
    if each == name then found = true else left[#left + 1] = each end
  end
  if found then redis.call('HSET', key, field, table.concat(left, ' ')) end
  return found
end

-- Ends a response aside; returns whether it was one.
local function end_aside(session, response_id)
  local found = take_out(session, 'asides', response_id)
  if found then redis.call('DEL', prefix .. ':response:' .. response_id) end
  return found
end

-- Has turns of the user transcribed. Responses that are begun meanwhile wait for it.
local function transcribe(session, stt, epoch, jobs)
  if #jobs == 0 then return end
  local entries = names(session, 'transcribing')
  for _, entry in ipairs(enqueue(stt, epoch, jobs)) do entries[#entries + 1] = entry end
  while #entries > TRANSCRIPTIONS do table.remove(entries, 1) end
  redis.call('HSET', session, 'transcribing', table.concat(entries, ' '))
end

-- A transcription has come to its end: responses that wait for no other begin.
local function transcribed(session, entry)
  take_out(session, 'transcribing', entry)
  local unfinished = {}
  for _, each in ipairs(names(session, 'transcribing')) do unfinished[each] = true end
  local responses = names(session, 'asides')
  responses[#responses + 1] = redis.call('HGET', session, 'response')
  for _, id in ipairs(responses) do
    local response = prefix .. ':response:' .. id
    local job, epoch = unpack(redis.call('HMGET', response, 'job', 'epoch'))
    local waits = false
    for _, each in ipairs(names(response, 'waits')) do waits = waits or unfinished[each] end
    if job and not waits then
      redis.call('HDEL', response, 'job', 'epoch', 'waits')
      enqueue(prefix .. ':llm', epoch, { job })
    end
  end
end

-- Redis's own pending list says who owns a job: the consumer it was last delivered to. Which
-- delivery that was tells a consumer that lost the job and took it back from itself before; ""
-- is any. Returns how often it was delivered, or nil or false.
local function owns(stream, group, consumer, entry, attempt)
  local rows = redis.pcall('XPENDING', stream, group, entry, entry, 1, consumer)
  if rows.err then
    if string.find(rows.err, 'NOGROUP', 1, true) then return false end  -- the broker lost its data
    error(rows)
  end
  local delivered = rows[1] and rows[1][4]
  return (attempt == '' or delivered == tonumber(attempt)) and delivered
end

local function settle(stream, group, entry)
  redis.call('XACK', stream, group, entry)
  redis.call('XDEL', stream, entry)
end

-- Reads the attachment and the number of the client's request (0 if it comes from none). Returns
-- what the script must return at once: 'gone', 'detached' (another gateway serves the session) or
-- 'ok' (the request was carried out before, and its reply got lost). Else nil and the number to
-- note once the request is carried out.
local function admit(session)
  local attachment, request = arg(), tonumber(arg())
  local serving, done = unpack(redis.call('HMGET', session, 'attachment', 'requests'))
  if not serving then return 'gone' end
  if serving ~= attachment then return 'detached' end
  if request > 0 and request <= tonumber(done) then return 'ok' end
  return nil, math.max(request, tonumber(done))
end

-- Cancels whatever answers: all work of an older epoch is stale from here on.
local function interrupt(session)
  local epoch = redis.call('HINCRBY', session, 'epoch', 1)
  redis.call('HSET', session, 'response', '')
  redis.call('PUBLISH', prefix .. ':control', session_id .. ' ' .. epoch)
  return epoch
end

-- Removes a session's keys, and what belongs to its responses.
local function remove(session, keys)
  local responses = names(session, 'asides')
  responses[#responses + 1] = redis.call('HGET', session, 'response')
  for _, id in ipairs(responses) do redis.call('DEL', prefix .. ':response:' .. id) end
  local epoch = redis.call('HINCRBY', session, 'epoch', 1)
  redis.call('PUBLISH', prefix .. ':control', session_id .. ' ' .. epoch)
  redis.call('DEL', unpack(keys))
end

-- Begins a response to the conversation as it is now. The language model gets it once all of the
-- conversation is transcribed.
local function begin_response(keys, epoch, message, job)
  local last = redis.call('LINDEX', keys.order, -1) or ''
  redis.call('DEL', keys.response)
  redis.call('HSET', keys.response, 'text', '', 'segments', 0, 'after', last)
  show(keys.session, keys.out, { message })
  local waits = redis.call('HGET', keys.session, 'transcribing')
  if waits and waits ~= '' then
    redis.call('HSET', keys.response, 'job', job, 'epoch', epoch, 'waits', waits)
  else
    enqueue(keys.llm, epoch, { job })
  end
  redis.call('EXPIRE', keys.response, ttl_s)
end

-- Makes a response the session's active one and gives it to the language model.
-- Returns 'ok', 'stale' (the epoch moved on) or 'active' (another response is).
local function create_response(keys, epoch, response_id, message, job)
  local now = redis.call('HGET', keys.session, 'epoch')
  if epoch ~= '' and epoch ~= now then return 'stale' end
  local active = redis.call('HGET', keys.session, 'response')
  if active == response_id then return 'ok' end  -- the reply to an earlier attempt got lost
  if active and active ~= '' then return 'active' end
  redis.call('HSET', keys.session, 'response', response_id)
  begin_response(keys, now, message, job)
  return 'ok'
end

-- Begins a response aside of the conversation, whatever else is active.
-- Returns 'ok' or 'active' (too many are aside already).
local function create_aside(keys, response_id, message, job)
  local active = names(keys.session, 'asides')
  for _, id in ipairs(active) do
    if id == response_id then return 'ok' end  -- the reply to an earlier attempt got lost
  end
  if #active >= ASIDES then return 'active' end
  active[#active + 1] = response_id
  redis.call('HSET', keys.session, 'asides', table.concat(active, ' '))
  begin_response(keys, NEVER_STALE, message, job)
  return 'ok'
end

-- What emit and finish have in common; `last` tells them apart. Returns 'ok', 'lost' (the job is
-- another consumer's or done), 'gone' (the session ended), 'stale' (the response was cancelled or
-- is over) or 'differs' (the broker lost text that this owner emitted: it must begin again from
-- what is there).
local function emission(last)
  local stream, session, out, response, next_stream, items, order = unpack(KEYS)
  local job = {
    group = arg(), consumer = arg(), entry = arg(), attempt = arg(), epoch = arg(),
  }
  local response_id, position, text, segments = arg(), tonumber(arg()), arg(), arg()
  local messages, jobs, begins = args(), args(), args()
  if not owns(stream, job.group, job.consumer, job.entry, job.attempt) then
    return 'lost', job
  end
  local epoch, active = unpack(redis.call('HMGET', session, 'epoch', 'response'))
  if not epoch then return 'gone', job end
  if job.epoch == NEVER_STALE then
    if redis.call('EXISTS', response) == 0 then return 'stale', job end
  elseif epoch ~= job.epoch or active ~= response_id then
    return 'stale', job
  end
  if position then
    local before = redis.call('HGET', response, 'text') or ''
    -- The reply to an earlier attempt got lost: what it wrote is already there. The last
    -- emission ends the job, and cannot have been made before.
    if not last and #before == position + #text then return 'ok', job end
    if #before ~= position then return 'differs', job end
    redis.call('HSET', response, 'text', before .. text, 'segments', segments)
    redis.call('EXPIRE', response, ttl_s)
  end
  for i = 1, #begins, 2 do put_item(items, order, begins[i], begins[i + 1]) end
  enqueue(next_stream, job.epoch, jobs)
  show(session, out, messages)
  return 'ok', job
end
