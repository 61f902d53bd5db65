-- Ends a lease. KEYS: its buckets. ARGV: the lease, then of each bucket: rate, and the grains to
-- add to what is used, which may be negative; places have rate 0,
-- and so has the line before them.
-- Reads all before it writes: a bucket that stands there twice was taken once.

local used, at = {}, {}

for i, key in ipairs(KEYS) do
  local rate = tonumber(ARGV[2 * i])
  if rate > 0 then
    used[i], at[i] = level(key, rate)
  end
end

for i, key in ipairs(KEYS) do
  if used[i] then
    keep(key, used[i] + ARGV[2 * i + 1], at[i], tonumber(ARGV[2 * i]))
  else
    redis.call('ZREM', key, ARGV[1])
  end
end
