-- Takes a free lane. The fencing token grows with every owner, so that a former one is refused.
-- It is at least the time in microseconds: of a broker that lost its last token, a mere count
-- would give the next owner the one that the former owner still has.
-- KEYS: lease, fence, checkpoint
-- ARGV: …, owner, lease in ms, seconds the fence and the checkpoint are kept
-- Returns the token, or 0 if the lane has an owner.
local lease, fence, checkpoint = unpack(KEYS)
local owner, lease_ms, keep_s = arg(), arg(), arg()
redis.call('EXPIRE', fence, keep_s)  -- goes on without memory
if not redis.call('SET', lease, owner, 'NX', 'PX', lease_ms) then return 0 end
local seconds, micros = unpack(redis.call('TIME'))
local last = tonumber(redis.call('GET', fence) or 0)
local token = string.format('%.0f', math.max(last + 1, seconds * 1000000 + micros))
redis.call('SET', fence, token, 'EX', keep_s)
redis.call('EXPIRE', checkpoint, keep_s)
return tonumber(token)
