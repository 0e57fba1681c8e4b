-- Let go what the removal brake holds back.
-- KEYS: brake
-- Returns 1, or 0 if nothing is held back; then nothing is written.
-- Closes the race with a commit that takes the brake away: what it held is not held any more, and
-- a release that was left behind would let go the next one.
if redis.call('HEXISTS', KEYS[1], 'strength') == 0 then
  return 0
end
redis.call('HSET', KEYS[1], 'released', '1')
return 1
