-- Put before every script: reads the arguments and holds the steps that several scripts share.
--
-- Every script's arguments begin with: how many seconds a session's keys live without activity,
-- the shard's prefix ("parley:{0}") and the session's id.

local OUT_LENGTH = 1024    -- messages a gateway may be behind
local JOBS_LENGTH = 10000  -- jobs a stage may be behind
local ITEMS_LENGTH = 256   -- items a conversation keeps
local DEAD_LENGTH = 1000   -- jobs kept for inspection

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

local function enqueue(stream, epoch, jobs)
  for _, job in ipairs(jobs) do
    redis.call('XADD', stream, 'MAXLEN', '~', JOBS_LENGTH, '*', 'm', job, 'epoch', epoch)
  end
end

-- Writes an item at the end of the conversation, or over its earlier version; the oldest go
-- when there are too many.
local function put_item(items, order, item_id, item)
  if redis.call('HSET', items, item_id, item) == 1 then
    redis.call('RPUSH', order, item_id)
    while redis.call('LLEN', order) > ITEMS_LENGTH do
      redis.call('HDEL', items, redis.call('LPOP', order))
    end
  end
  redis.call('EXPIRE', items, ttl_s)
  redis.call('EXPIRE', order, ttl_s)
end

-- Redis's own pending list says who owns a job.
local function owns(stream, group, consumer, entry)
  return #redis.call('XPENDING', stream, group, entry, entry, 1, consumer) == 1
end

local function settle(stream, group, entry)
  redis.call('XACK', stream, group, entry)
  redis.call('XDEL', stream, entry)
end

-- Cancels whatever answers: all work of an older epoch is stale from here on.
local function interrupt(session)
  local epoch = redis.call('HINCRBY', session, 'epoch', 1)
  redis.call('HSET', session, 'response', '')
  redis.call('PUBLISH', prefix .. ':control', session_id .. ' ' .. epoch)
  return epoch
end

-- Makes a response the session's active one and gives it to the language model.
-- Returns 'ok', 'stale' (the epoch moved on) or 'active' (another response is).
local function create_response(keys, epoch, response_id, item_id, item, message, job)
  local now = redis.call('HGET', keys.session, 'epoch')
  if epoch ~= '' and epoch ~= now then return 'stale' end
  local active = redis.call('HGET', keys.session, 'response')
  if active == response_id then return 'ok' end  -- the reply to an earlier attempt got lost
  if active and active ~= '' then return 'active' end
  redis.call('HSET', keys.session, 'response', response_id)
  redis.call('HSET', keys.response, 'text', '', 'segments', 0)
  redis.call('EXPIRE', keys.response, ttl_s)
  put_item(keys.items, keys.order, item_id, item)
  show(keys.session, keys.out, { message })
  enqueue(keys.llm, now, { job })
  return 'ok'
end

-- What emit and finish have in common. Returns 'ok', 'lost' (the job is another consumer's or
-- done), 'gone' (the session ended) or 'stale' (the response was cancelled).
local function emission()
  local stream, session, out, response, next_stream = unpack(KEYS)
  local job = { group = arg(), consumer = arg(), entry = arg(), epoch = arg() }
  local position, text, segments = arg(), arg(), arg()
  local messages, jobs = args(), args()
  if not owns(stream, job.group, job.consumer, job.entry) then return 'lost', job end
  local epoch = redis.call('HGET', session, 'epoch')
  if not epoch then return 'gone', job end
  if epoch ~= job.epoch then return 'stale', job end
  if position ~= '' then
    -- the reply to an earlier attempt got lost: what it wrote is already there
    if redis.call('HSTRLEN', response, 'text') ~= tonumber(position) then return 'ok', job end
    local before = redis.call('HGET', response, 'text') or ''
    redis.call('HSET', response, 'text', before .. text, 'segments', segments)
    redis.call('EXPIRE', response, ttl_s)
  end
  enqueue(next_stream, epoch, jobs)
  show(session, out, messages)
  return 'ok', job
end
