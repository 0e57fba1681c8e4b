-- Let no request start before a moment the platform named.
-- KEYS: budget      ARGV: interval between requests in us, burst, wait in us
-- Never shortens a wait that another worker was told.
local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000000 + tonumber(time[2])
local at = now + tonumber(ARGV[3]) + tonumber(ARGV[1]) * (tonumber(ARGV[2]) - 1)
if at > tonumber(redis.call('GET', KEYS[1]) or 0) then
  redis.call('SET', KEYS[1], string.format('%.0f', at), 'PX', 3600000)
end
return 1
