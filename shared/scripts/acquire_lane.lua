-- Takes a free lane. The fencing token grows with every owner, so that a former one is refused.
-- KEYS: lease, fence, checkpoint
-- ARGV: …, owner, lease in ms, seconds the fence and the checkpoint are kept
-- Returns the token, or 0 if the lane has an owner.
local lease, fence, checkpoint = unpack(KEYS)
local owner, lease_ms, keep_s = arg(), arg(), arg()
if not redis.call('SET', lease, owner, 'NX', 'PX', lease_ms) then return 0 end
local token = redis.call('INCR', fence)
redis.call('EXPIRE', fence, keep_s)
redis.call('EXPIRE', checkpoint, keep_s)
return token
