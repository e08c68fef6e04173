-- Takes all charges, quotas and slots, or nothing. The same arithmetic as MemoryStore.take_now.
--
-- KEYS: of charges, then of quotas, then of slots.
-- ARGV: the time, or '' for the server's; how many charges; how many quotas; the admission's id; then for each
-- charge interval and tolerance, for each quota limit and end, for each slot limit and lease. Times are
-- microseconds since 2026-01-01.
-- Gives {0}, or {which one has to be waited for longest, for how many milliseconds}.

local EPOCH, SLACK, BUSY = 1767225600, 1, 1000000
local SPARE = 60000 -- Milliseconds that a key outlives its meaning, for clocks that are set back.

local now = tonumber(ARGV[1])
if not now then
  local time = redis.call('TIME')
  now = (time[1] - EPOCH) * 1000000 + time[2]
end
local charges, quotas, id = tonumber(ARGV[2]), tonumber(ARGV[3]), ARGV[4]
local at = 5
local function two()
  at = at + 2
  return tonumber(ARGV[at - 2]), tonumber(ARGV[at - 1])
end
local function exact(number) return string.format('%.17g', number) end
local function milliseconds(span) return string.format('%.0f', math.ceil(math.max(span, 0) / 1000) + SPARE) end

local longest, refused = 0, 0
local values = {}
for i = 1, charges do
  local interval, tolerance = two()
  local known = tonumber(redis.call('GET', KEYS[i]) or now)
  local arrival = now
  if known > now then
    arrival = math.min(known, now + tolerance + interval)
    local wait = arrival - tolerance - now
    if wait > SLACK and wait > longest then longest, refused = wait, i end
  end
  values[i] = arrival + interval
end
for i = charges + 1, charges + quotas do
  local limit, ends = two()
  if tonumber(redis.call('GET', KEYS[i]) or 0) >= limit then
    local wait = math.max(ends - now, SLACK)
    if wait > longest then longest, refused = wait, i end
  end
  values[i] = ends
end
for i = charges + quotas + 1, #KEYS do
  local limit, lease = two()
  redis.call('ZREMRANGEBYSCORE', KEYS[i], '-inf', exact(now))
  if redis.call('ZCARD', KEYS[i]) >= limit and BUSY > longest then longest, refused = BUSY, i end
  values[i] = lease
end
if refused > 0 then return {refused, math.ceil(longest / 1000)} end

for i = 1, charges do
  redis.call('SET', KEYS[i], exact(values[i]), 'PX', milliseconds(values[i] - now))
end
for i = charges + 1, charges + quotas do
  redis.call('INCR', KEYS[i])
  redis.call('PEXPIRE', KEYS[i], milliseconds(values[i] - now))
end
for i = charges + quotas + 1, #KEYS do
  redis.call('ZADD', KEYS[i], exact(now + values[i]), id)
  redis.call('PEXPIRE', KEYS[i], milliseconds(values[i]))
end
return {0}
