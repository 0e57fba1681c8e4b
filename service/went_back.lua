-- Tell the workers that a log stands lower than it did: the server came back older than it was.
-- KEYS: head, due, due:why
-- ARGV: epoch and sequence that were seen, their cursor, the reason of a scan
-- Returns 1, or 0 if the log is another one or stands there by now; then nothing is written.
-- Closes the race with a commit, and with two reads whose answers came in the other order.
local known = redis.call('HMGET', KEYS[1], 'epoch', 'sequence')
if known[1] ~= ARGV[1] or tonumber(known[2]) >= tonumber(ARGV[2]) then
  return 0
end
redis.call('HSET', KEYS[1], 'remembered', ARGV[3])
redis.call('ZADD', KEYS[2], 0, 'reconcile')
redis.call('HSETNX', KEYS[3], 'reconcile', ARGV[4])
return 1
