-- One step of an approval, atomic among all processes. ARGV[1] names the step, ARGV[2] is the time in milliseconds.
-- An approval is a hash: `data` (what never changes, as JSON), `call` (digest of its binding), `state`, `expires`,
-- `decision` (JSON), `used`. The key of the hash is KEYS[1].
local step, now = ARGV[1], tonumber(ARGV[2])

local function standing(key)
  local found = redis.call('HMGET', key, 'state', 'expires')
  if not found[1] then return nil end
  local live = now < tonumber(found[2])
  if (found[1] == 'pending' or found[1] == 'approved') and not live then return 'expired', live end
  return found[1], live
end

local function take(key)
  redis.call('HSET', key, 'state', 'used', 'used', now)
end

if step == 'use' then
  -- ARGV: 3 call. Answers -1 for none of that call, 1 where this step used it up, else 0.
  if redis.call('HGET', KEYS[1], 'call') ~= ARGV[3] then return -1 end
  if standing(KEYS[1]) ~= 'approved' then return 0 end
  take(KEYS[1])
  return 1
end

if step == 'decide' then
  -- ARGV: 3 state, 4 decision, 5 expires, 6 how long to keep it. Answers -1 for none, 1 where it counts, else 0.
  local state = standing(KEYS[1])
  if not state then return -1 end
  if state ~= 'pending' then return 0 end
  redis.call('HSET', KEYS[1], 'state', ARGV[3], 'decision', ARGV[4], 'expires', ARGV[5])
  redis.call('PEXPIRE', KEYS[1], ARGV[6])
  return 1
end

if step == 'withdraw' then
  -- ARGV: 3 call. Answers 1 where it was taken back, else 0.
  if redis.call('HGET', KEYS[1], 'call') ~= ARGV[3] then return 0 end
  local state = standing(KEYS[1])
  if state ~= 'pending' and state ~= 'approved' then return 0 end
  redis.call('HSET', KEYS[1], 'state', 'withdrawn')
  return 1
end

-- enter. KEYS: 2 the call's latest approval, 3 the requester's, 4 the tenant's, 5 all.
-- ARGV: 3 call, 4 id, 5 data, 6 expires, 7 how long to keep it, 8 cap, 9 prefix of approvals, 10 how long to list it.
-- Answers {id, 1 where this step used it up, 1 where it is new}; the id is empty where there are too many.
local last = redis.call('GET', KEYS[2])
if last then
  local state, live = standing(ARGV[9] .. last)
  if state == 'approved' then
    take(ARGV[9] .. last)
    return {last, 1, 0}
  end
  if live and (state == 'pending' or state == 'rejected') then return {last, 0, 0} end
end
local gone = now - tonumber(ARGV[10])
for key = 3, 5 do redis.call('ZREMRANGEBYSCORE', KEYS[key], '-inf', gone) end
local undecided = 0
for _, id in ipairs(redis.call('ZRANGE', KEYS[3], 0, -1)) do
  local state, live = standing(ARGV[9] .. id)
  if not state then
    redis.call('ZREM', KEYS[3], id)
  elseif live and (state == 'pending' or state == 'withdrawn') then
    undecided = undecided + 1
  end
end
if undecided >= tonumber(ARGV[8]) then return {'', 0, 0} end
redis.call('HSET', KEYS[1], 'data', ARGV[5], 'call', ARGV[3], 'state', 'pending', 'expires', ARGV[6])
redis.call('PEXPIRE', KEYS[1], ARGV[7])
redis.call('SET', KEYS[2], ARGV[4], 'PX', ARGV[10])
for key = 3, 5 do
  redis.call('ZADD', KEYS[key], now, ARGV[4])
  redis.call('PEXPIRE', KEYS[key], ARGV[10])
end
return {ARGV[4], 0, 1}
