-- Renews leases, also those that the broker has forgotten.
-- KEYS: leases
-- ARGV: …, ms they last, leases
local lasts_ms, leases = tonumber(arg()), args()
local time = redis.call('TIME')
local until_ms = string.format('%.0f', time[1] * 1000 + math.floor(time[2] / 1000) + lasts_ms)
for _, lease in ipairs(leases) do redis.call('ZADD', KEYS[1], until_ms, lease) end
redis.call('PEXPIRE', KEYS[1], math.max(lasts_ms, redis.call('PTTL', KEYS[1])))
return 1
