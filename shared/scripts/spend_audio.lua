-- Counts audio against a day's, by the broker's clock (UTC).
-- KEYS: audio
-- ARGV: …, ms of audio
-- Returns the ms of this day, and in how many seconds it ends.
local day_s = 86400
local now_s = tonumber(redis.call('TIME')[1])
local end_s = now_s - now_s % day_s + day_s
local spent_ms = redis.call('INCRBY', KEYS[1], arg())
redis.call('EXPIREAT', KEYS[1], end_s)
return { spent_ms, end_s - now_s }
