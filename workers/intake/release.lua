-- Let the lease go, and say when the tenant wants to be woken next.
-- KEYS: lease, head, marks, due
-- ARGV: token, now in ms, ms at which what this holder left behind can be served, longest delay of
--       a call in ms
-- Returns the ms of the next wake-up call to send, or false when none is needed; what is later than
-- the longest delay is left to the sweep.
-- Closes the race of a notification accepted while a holder finishes: its own wake-up call found
-- the lease taken and went away, so whoever lets go must look once more.
if redis.call('GET', KEYS[1]) == ARGV[1] then
  redis.call('DEL', KEYS[1])
end
local now = tonumber(ARGV[2])
local head = redis.call('HMGET', KEYS[2], 'not_before_ms', 'accept', 'claimed', 'alarm_ms')
local next_ms
if redis.call('EXISTS', KEYS[3]) == 1 then
  next_ms = tonumber(ARGV[3])
  if tonumber(head[2] or 0) > tonumber(head[3] or 0) then
    next_ms = now  -- accepted since the last claim: these did not wait yet
  end
end
local due = redis.call('ZRANGE', KEYS[4], 0, 0, 'WITHSCORES')
if due[2] then
  local due_ms = tonumber(due[2])
  if due_ms <= now then
    due_ms = math.max(due_ms, tonumber(ARGV[3]))  -- this holder saw it, and had to leave it
  end
  if not next_ms or due_ms < next_ms then
    next_ms = due_ms
  end
end
if not next_ms then
  return false
end
next_ms = math.max(next_ms, now, tonumber(head[1] or 0))
if next_ms > now + tonumber(ARGV[4]) then
  return false
end
local alarm = tonumber(head[4] or 0)
if alarm > now and alarm <= next_ms then
  return false  -- a call that comes early enough is under way
end
redis.call('HSET', KEYS[2], 'alarm_ms', next_ms)
return next_ms
