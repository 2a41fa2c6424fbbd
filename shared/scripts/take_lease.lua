-- Takes one of a limited number of leases, by the broker's clock.
-- KEYS: leases
-- ARGV: …, most at a time (0 for any number), ms it lasts, lease, the lease it follows or ""
-- Returns 1, or 0 if none is left. One that follows another which still lasts takes its place.
local most, lasts_ms, lease, before = tonumber(arg()), tonumber(arg()), arg(), arg()
local time = redis.call('TIME')
local now_ms = time[1] * 1000 + math.floor(time[2] / 1000)
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now_ms)
local follows = before ~= '' and redis.call('ZREM', KEYS[1], before) == 1
local has = redis.call('ZSCORE', KEYS[1], lease)  -- the reply got lost
if not (follows or has) and most > 0 and redis.call('ZCARD', KEYS[1]) >= most then return 0 end
redis.call('ZADD', KEYS[1], string.format('%.0f', now_ms + lasts_ms), lease)
redis.call('PEXPIRE', KEYS[1], math.max(lasts_ms, redis.call('PTTL', KEYS[1])))
return 1
