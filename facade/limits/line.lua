-- Takes a place if it is the lease's turn: who looks first stands first, and who has not looked
-- for a while has left. KEYS: places, the line, when each of it has left (milliseconds).
-- ARGV: lease, lapse (ms), place wait (ms), places, how long one who does not look stands (ms).
-- Returns as take.lua does.

local lease = ARGV[1]
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now)
for _, left in ipairs(redis.call('ZRANGEBYSCORE', KEYS[3], '-inf', now)) do
  redis.call('ZREM', KEYS[2], left)
  redis.call('ZREM', KEYS[3], left)
end

local used = redis.call('ZCARD', KEYS[1])
redis.call('ZADD', KEYS[2], 'NX', now, lease)
if redis.call('ZRANK', KEYS[2], lease) < ARGV[4] - used then
  redis.call('ZREM', KEYS[2], lease)
  redis.call('ZREM', KEYS[3], lease)
  redis.call('ZADD', KEYS[1], now + ARGV[2], lease)
  redis.call('PEXPIRE', KEYS[1], ARGV[2])
  return {0, 0, {used + 1}, {1}}
end

redis.call('ZADD', KEYS[3], now + ARGV[5], lease)
redis.call('PEXPIRE', KEYS[2], ARGV[5])
redis.call('PEXPIRE', KEYS[3], ARGV[5])
return {1, tonumber(ARGV[3]), {used}, {}}
