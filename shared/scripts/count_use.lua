-- Adds to what was used on this day (UTC, by the broker's clock), and forgets days long gone.
-- KEYS: usage
-- ARGV: …, days kept, fields, as many amounts
local day_s = 86400
local days, fields, amounts = tonumber(arg()), args(), args()
local today = math.floor(redis.call('TIME')[1] / day_s)
for i, field in ipairs(fields) do
  redis.call('HINCRBY', KEYS[1], today .. ':' .. field, amounts[i])
end
redis.call('EXPIRE', KEYS[1], days * day_s)
for _, field in ipairs(redis.call('HKEYS', KEYS[1])) do
  if tonumber(string.match(field, '^%d+')) <= today - days then
    redis.call('HDEL', KEYS[1], field)
  end
end
