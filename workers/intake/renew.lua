-- Keep a lease that is still ours.
-- KEYS: lease      ARGV: token, time to live in ms
-- Returns 1, or 0 when it is no longer ours.
if redis.call('GET', KEYS[1]) ~= ARGV[1] then
  return 0
end
return redis.call('PEXPIRE', KEYS[1], ARGV[2])
