-- Keeps places from lapsing, and takes again what has: by whom it is held, by him it is used.
-- KEYS: places, one for each lease that holds one. ARGV: lapse (ms), then the leases.

for i, key in ipairs(KEYS) do
  redis.call('ZADD', key, now + ARGV[1], ARGV[i + 1])
  redis.call('PEXPIRE', key, ARGV[1])
end
