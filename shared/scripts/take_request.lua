-- Counts a request against a rate, by the generic cell rate algorithm (ITU-T I.371): the key holds
-- when, in µs by the broker's clock, all that may be asked at once may be asked again.
-- KEYS: rate
-- ARGV: …, µs for each request, how many at once
-- Returns whether it may be made (1 or 0), how many more now, and in how many ms all of them may
-- (if it may not be made: in how many ms it may).
local each_us, burst = tonumber(arg()), tonumber(arg())
local time = redis.call('TIME')
local now_us = time[1] * 1000000 + time[2]
local full_us = math.max(now_us, tonumber(redis.call('GET', KEYS[1]) or 0)) + each_us
local room_us = now_us + burst * each_us - full_us
if room_us < 0 then return { 0, 0, math.ceil(-room_us / 1000) } end
local wait_ms = math.ceil((full_us - now_us) / 1000)
redis.call('SET', KEYS[1], string.format('%.0f', full_us), 'PX', wait_ms)
return { 1, math.floor(room_us / each_us), wait_ms }
