-- Drop the oldest changes of the log, and what points to them.
-- KEYS: lease, changes, history, tombstones
-- ARGV: token, sequence of the first change to keep, number of requirements, then their packed ids,
--       then the packed ids whose tombstones go
-- Returns 1, or false when the lease is no longer ours: then nothing is written.
-- Closes the race of a holder that lost its lease between looking and trimming (the token): what it
-- saw may be another's by now. History never points to a change that is gone.
local lease, changes, history, tombstones = unpack(KEYS)
if redis.call('GET', lease) ~= ARGV[1] then
  return false
end
local keep = tonumber(ARGV[2])
local last = 3 + tonumber(ARGV[3])

-- The number of the 8 bytes that begin there, the highest first.
local function number_at(packed, at)
  local number = 0
  for i = at, at + 7 do
    number = number * 256 + string.byte(packed, i)
  end
  return number
end

redis.call('XTRIM', changes, 'MINID', '=', string.format('%.0f-0', keep))
for i = 4, last do
  local sequences = redis.call('HGET', history, ARGV[i]) or ''
  local at = 1
  while at <= #sequences and number_at(sequences, at) < keep do
    at = at + 8
  end
  if at > #sequences then
    redis.call('HDEL', history, ARGV[i])
  elseif at > 1 then
    redis.call('HSET', history, ARGV[i], string.sub(sequences, at))
  end
end
for i = last + 1, #ARGV do
  redis.call('HDEL', tombstones, ARGV[i])
end
return 1
