-- Take one request out of a tenant's budget (generic cell rate algorithm).
-- KEYS: budget      ARGV: interval between requests in us, burst, longest wait in us
-- Returns the wait in us until the request may start, or minus that wait when it is longer than
-- the longest: then nothing was taken.
-- All workers share the key, and the server's clock.
local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000000 + tonumber(time[2])
local interval, burst, longest = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local at = math.max(tonumber(redis.call('GET', KEYS[1]) or 0), now)
local wait = math.max(0, at - now - interval * (burst - 1))
if wait > longest then
  return -wait
end
redis.call('SET', KEYS[1], string.format('%.0f', at + interval), 'PX', 3600000)
return wait
