-- Accept a batch of notifications of one tenant.
--
-- KEYS: 1 head, 2 inbox, 3 marks, 4 wake, 5 stats, then the dedupe key of each notification
-- ARGV: 1 now in ms, 2 dedupe time in ms, 3 most that may be pending, 4 life of the wake flag in
--       ms, then for each: 1 if its sender dated it, otherwise 0; event type; scopes joined by a
--       space, empty if it is to be ignored; via
-- Returns 1 if a refresh has to be woken, otherwise 0, then for each: status, notification id
--   (accepted | duplicate | ignored | full; the id of a duplicate is the first one's, of full "").
--
-- A mark is "<first id> <last> <count> <manual>": the notification id of the first that is not
-- covered, the accept sequence of the last, how many they are, and how many of them via "api".
--
-- Closes the race between two processes that accept equal notifications, or that number
-- different ones, and the one between an accept and the claim that reads marks and sequence: a
-- notification has its number, its entry and its marks together, or nothing.

local head, inbox, marks, wake, stats = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5]
local now, dedupe_ms, limit, wake_ms = tonumber(ARGV[1]), ARGV[2], tonumber(ARGV[3]), ARGV[4]

local known = redis.call('HMGET', head, 'accept', 'last_ms', 'pending', 'claimed')
local accept, last_ms = tonumber(known[1] or 0), tonumber(known[2] or 0)
local pending, claimed = tonumber(known[3] or 0), tonumber(known[4] or 0)
local ms = string.format('%.0f', math.max(now, last_ms))
local counted = {accepted = 0, duplicate = 0, ignored = 0}
local answer = {0}

local function mark(scope, id, sequence, via)
  local first, count, manual = id, 0, 0
  local before = redis.call('HGET', marks, scope)
  if before then
    local last
    first, last, count, manual = string.match(before, '^(%S+) (%d+) (%d+) (%d+)$')
  end
  if via == 'api' then manual = manual + 1 end
  redis.call('HSET', marks, scope,
    string.format('%s %s %.0f %.0f', first, sequence, count + 1, manual))
end

local function take(dedupe, dated, event_type, scopes, via)
  local first = redis.call('GET', dedupe)
  -- One without a date is news again as soon as the equal one was claimed: a read that started
  -- then may not have seen what this one announces.
  if first and (dated == '1' or tonumber(string.match(first, '%-(%d+)$')) > claimed) then
    return 'duplicate', first
  end
  if scopes ~= '' and pending >= limit then
    return 'full', ''
  end
  accept = accept + 1
  local sequence = string.format('%.0f', accept)
  local id = ms .. '-' .. sequence
  redis.call('XADD', inbox, id, 'type', event_type, 'scopes', scopes, 'via', via)
  redis.call('SET', dedupe, id, 'PX', dedupe_ms)
  if scopes == '' then
    return 'ignored', id
  end
  for scope in string.gmatch(scopes, '%S+') do
    mark(scope, id, sequence, via)
    pending = pending + 1
  end
  return 'accepted', id
end

for i = 6, #KEYS do
  local at = 5 + (i - 6) * 4
  local status, id = take(KEYS[i], ARGV[at], ARGV[at + 1], ARGV[at + 2], ARGV[at + 3])
  if counted[status] then counted[status] = counted[status] + 1 end
  answer[#answer + 1] = status
  answer[#answer + 1] = id
end

if counted.accepted > 0 and tonumber(known[3] or 0) == 0 then
  redis.call('HSET', head, 'oldest_ms', ms)
end
if counted.accepted + counted.ignored > 0 then
  redis.call('HSET', head, 'accept', string.format('%.0f', accept), 'last_ms', ms,
    'pending', string.format('%.0f', pending))
end
for _, status in ipairs({'accepted', 'duplicate', 'ignored'}) do
  if counted[status] > 0 then
    redis.call('HINCRBY', stats, status, counted[status])
  end
end
if counted.accepted > 0 and redis.call('SET', wake, '1', 'NX', 'PX', wake_ms) then
  answer[1] = 1
end
return answer
