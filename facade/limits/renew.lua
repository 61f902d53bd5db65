-- Keeps places from lapsing, but for those that have. KEYS: places, one for each lease that holds
-- one. ARGV: lapse (ms), then the leases.

for i, key in ipairs(KEYS) do
  redis.call('ZREMRANGEBYSCORE', key, '-inf', now)
  redis.call('ZADD', key, 'XX', now + ARGV[1], ARGV[i + 1])
  redis.call('PEXPIRE', key, ARGV[1])
end
