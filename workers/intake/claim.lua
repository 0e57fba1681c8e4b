-- Claim all that is to be read again: marks, and what has become due, some hundreds at a time.
-- KEYS: lease, head, marks, due, due:why, wake      ARGV: token, now in ms
-- Returns {'lost'}: the lease is no longer ours
--         {'early', not_before_ms}: a round may not start yet
--         {'idle'}: there is nothing to do
--         {'work', head, marks, due members, their reasons}
-- Closes the race with accept: what is accepted after this script has a greater sequence than
-- `claimed`, and finds the wake flag gone, so it calls for another round.
if redis.call('GET', KEYS[1]) ~= ARGV[1] then
  return {'lost'}
end
local now = tonumber(ARGV[2])
local not_before = tonumber(redis.call('HGET', KEYS[2], 'not_before_ms') or 0)
-- Further ahead than anything we wait for: a clock was set back.
if now < not_before and not_before <= now + 3600000 then
  return {'early', not_before}
end
redis.call('DEL', KEYS[6])
local marks = redis.call('HGETALL', KEYS[3])
local members = redis.call('ZRANGEBYSCORE', KEYS[4], '-inf', now, 'LIMIT', 0, 500)
if #marks == 0 and #members == 0 then
  return {'idle'}
end
local reasons = {}
for i, member in ipairs(members) do
  reasons[i] = redis.call('HGET', KEYS[5], member)
end
redis.call('HSET', KEYS[2], 'claimed', redis.call('HGET', KEYS[2], 'accept') or 0)
return {'work', redis.call('HGETALL', KEYS[2]), marks, members, reasons}
