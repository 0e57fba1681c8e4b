-- Take a tenant's lease, if nobody holds it.
-- KEYS: lease, head      ARGV: time to live in ms, something nobody else gives
-- Returns the fencing token, or false when the lease is taken.
-- Closes the race of two workers woken at once: one gets the token, and every later holder
-- another one, even when the count of them was lost with the rest of the data.
if redis.call('EXISTS', KEYS[1]) == 1 then
  return false
end
local token = redis.call('HINCRBY', KEYS[2], 'fence', 1) .. '-' .. ARGV[2]
redis.call('SET', KEYS[1], token, 'PX', ARGV[1])
return token
