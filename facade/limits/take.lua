-- Takes all buckets or none. KEYS: buckets. ARGV: lease, lapse (ms), place wait (ms), then of
-- each bucket: capacity, rate, unit (grains), least, most (amounts); places have rate 0.
-- Returns {lacking, wait (ms), {used}, {taken}}: lacking is 0, or which bucket lacks longest.

local used, at, taken = {}, {}, {}
local lacking, longest = 0, 0

for i, key in ipairs(KEYS) do
  local first = 5 * i - 1
  local capacity, rate, unit = tonumber(ARGV[first]), tonumber(ARGV[first + 1]), ARGV[first + 2]
  local least, most = ARGV[first + 3], tonumber(ARGV[first + 4])
  if rate > 0 then
    used[i], at[i] = level(key, rate)
  else
    redis.call('ZREMRANGEBYSCORE', key, '-inf', now)
    used[i] = redis.call('ZCARD', key)
  end
  local missing, wait = used[i] + least * unit - capacity, 0
  if missing > 0 then
    wait = rate > 0 and math.ceil(missing / rate) or tonumber(ARGV[3])
  end
  if wait > longest then
    lacking, longest = i, wait
  end
  taken[i] = math.min(most, math.floor((capacity - used[i]) / unit))
end

if lacking > 0 then
  return {lacking, longest, used, {}}
end

for i, key in ipairs(KEYS) do
  local rate, unit = tonumber(ARGV[5 * i]), ARGV[5 * i + 1]
  used[i] = used[i] + taken[i] * unit
  if rate > 0 then
    keep(key, used[i], at[i], rate)
  else
    redis.call('ZADD', key, now + ARGV[2], ARGV[1])
    redis.call('PEXPIRE', key, ARGV[2])
  end
end
return {0, 0, used, taken}
