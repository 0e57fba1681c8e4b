-- Commit a part of a read: rows, their indexes, their changes; with the last part, coverage.
-- KEYS: lease, head, rows, pages, audiences, tombstones, quarantine, brake, unseen, changes,
--       history, marks, due, due:why, reads, stats, the channel `committed`
-- ARGV: 1 control as JSON: token, base, id, tenant, whether the brake was looked at (`suspended`),
--       a time nothing that stays pending is older than, and how many items each section has;
--       then the items of all sections, in the order they are taken below
-- Returns {'done', sequence}, {'repeated'} when this very commit went through before,
--         {'conflict', 'lease' | 'base' | 'epoch'}; in the last two nothing is written.
-- Closes the races of a holder that lost its lease (the token), of a second writer (the base
-- sequence), of a log that is known to have gone back (the epoch must change) and of an answer that was lost on its way (the commit's id).
local lease, head, rows, pages, audiences, tombstones, quarantine, brake, unseen, changes, history,
  marks, due, why, reads, stats, channel = unpack(KEYS)
local control = cjson.decode(ARGV[1])
local state = redis.call('HMGET', head, 'commit', 'sequence', 'epoch', 'remembered')
if state[1] == control.id then
  return {'repeated'}
end
if redis.call('GET', lease) ~= control.token then
  return {'conflict', 'lease'}
end
local sequence = tonumber(state[2] or 0)
if sequence ~= control.base then
  return {'conflict', 'base'}
end
local epoch, remembered = state[3] or '', state[4] or ''
if epoch ~= '' and epoch == control.epoch
  and string.sub(remembered, 1, #epoch + 1) == epoch .. ':' then
  return {'conflict', 'epoch'}
end

local at = 1
local function take()
  at = at + 1
  return ARGV[at]
end
-- Lua passes some thousands of arguments at most: longer sections go in pieces.
local function in_pieces(command, key, items)
  for first = 1, items, 1000 do
    local last = math.min(first + 999, items)
    redis.call(command, key, unpack(ARGV, at + first, at + last))
  end
  at = at + items
end
local count = control.count

if control.reset then
  redis.call('DEL', rows, pages, audiences, tombstones)
end
in_pieces('HSET', rows, count.rows_set)
in_pieces('HDEL', rows, count.rows_del)
in_pieces('HSET', audiences, count.audiences_set)
in_pieces('HDEL', audiences, count.audiences_del)
in_pieces('HDEL', pages, count.pages_del)
in_pieces('HSET', pages, count.pages_set)
in_pieces('HSET', tombstones, count.tombstones_set)
in_pieces('HDEL', tombstones, count.tombstones_del)
in_pieces('HSET', quarantine, count.quarantine_set)
in_pieces('HDEL', quarantine, count.quarantine_del)
local released
if control.suspended then
  released = not control.was_released and redis.call('HGET', brake, 'released')
  redis.call('DEL', brake, unseen)
end
in_pieces('HSET', brake, count.brake)
if released and count.brake > 0 then
  redis.call('HSET', brake, 'released', released)  -- let go while this read was under way
end
in_pieces('HSET', unseen, count.unseen)
for _ = 1, count.changes do
  sequence = sequence + 1
  redis.call('XADD', changes, string.format('%d-0', sequence), 'event', take(), 'type', take(),
    'requirement_id', take(), 'audience_id', take(), 'tenant', control.tenant)
end
for _ = 1, count.history do
  local id, packed = take(), take()
  redis.call('HSET', history, id, (redis.call('HGET', history, id) or '') .. packed)
end
for _ = 1, count.served do
  local scope, claimed_count, claimed_manual = take(), tonumber(take()), tonumber(take())
  local mark = redis.call('HGET', marks, scope)
  if mark then
    local last, total, manual = string.match(mark, '^%S+ (%d+) (%d+) (%d+)$')
    if tonumber(last) <= control.claimed then
      redis.call('HDEL', marks, scope)
      redis.call('HINCRBY', head, 'pending', -tonumber(total))
    else
      redis.call('HSET', marks, scope, string.format('%s %s %d %d', control.next_first, last,
        tonumber(total) - claimed_count, tonumber(manual) - claimed_manual))
      redis.call('HINCRBY', head, 'pending', -claimed_count)
    end
  end
end
if count.served > 0 then
  if redis.call('EXISTS', marks) == 0 then
    redis.call('HDEL', head, 'oldest_ms')
  else
    redis.call('HSET', head, 'oldest_ms', string.format('%.0f', control.oldest_ms))
  end
end
for _ = 1, count.due_set do
  local member, at_ms, reason = take(), take(), take()
  redis.call('ZADD', due, at_ms, member)
  redis.call('HSET', why, member, reason)
end
for _ = 1, count.due_del do
  local member = take()
  redis.call('ZREM', due, member)
  redis.call('HDEL', why, member)
end
in_pieces('HSET', head, count.head)
for _ = 1, count.stats do
  redis.call('HINCRBY', stats, take(), take())
end
if count.read > 0 then
  local number = redis.call('HINCRBY', head, 'read', 1)
  local fields = {}
  for i = 1, count.read do
    fields[i] = take()
  end
  redis.call('XADD', reads, string.format('%d-%d', control.claimed, number), unpack(fields))
end
redis.call('HSET', head, 'commit', control.id, 'sequence', sequence)
if count.changes > 0 then
  redis.call('PUBLISH', channel, sequence)
end
return {'done', sequence}
