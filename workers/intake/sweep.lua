-- Look whether a tenant is waiting for a wake-up call that was lost.
-- KEYS: lease, head, marks, due, due:why, wake
-- ARGV: now in ms, ms at which to reconcile if that is on no timetable, its reason,
--       ms a call may be late before it counts as lost
-- Returns 1 when a refresh should be called for, else 0.
-- Two sweeps side by side do no harm: the wake flag lets one of them call.
local now, grace = tonumber(ARGV[1]), tonumber(ARGV[4])
if not redis.call('ZSCORE', KEYS[4], 'reconcile') then
  redis.call('ZADD', KEYS[4], ARGV[2], 'reconcile')
  redis.call('HSET', KEYS[5], 'reconcile', ARGV[3])
end
if redis.call('EXISTS', KEYS[1]) == 1 then
  return 0
end
local head = redis.call('HMGET', KEYS[2], 'not_before_ms', 'alarm_ms')
local alarm = tonumber(head[2] or 0)
local not_before = tonumber(head[1] or 0)
if (now < not_before and not_before <= now + 3600000) or (alarm > now - grace and alarm <= now + grace) then
  return 0
end
local due = redis.call('ZRANGE', KEYS[4], 0, 0, 'WITHSCORES')
if redis.call('EXISTS', KEYS[3]) == 0 and tonumber(due[2]) > now then
  return 0
end
if not redis.call('SET', KEYS[6], '1', 'NX', 'PX', 5000) then
  return 0
end
return 1
