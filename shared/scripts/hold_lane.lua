-- Renews (milliseconds > 0) or gives up (0) the lease on a lane, if it is this owner's.
-- KEYS: lease, fence
-- ARGV: …, owner, token, lease in ms, seconds the fence is kept
-- Returns 'ok' or 'lost'.
local lease, fence = unpack(KEYS)
local owner, token, lease_ms, keep_s = arg(), arg(), arg(), arg()
if redis.call('GET', fence) ~= token then return 'lost' end
if lease_ms == '0' then
  if redis.call('GET', lease) == owner then redis.call('DEL', lease) end
  return 'ok'
end
redis.call('EXPIRE', fence, keep_s)  -- goes on without memory
-- the lease may have run out with nobody taking the lane: it is still ours by the token
redis.call('SET', lease, owner, 'PX', lease_ms)
return 'ok'
