-- What every script begins with: the server's time, and a bucket as in buckets.py.
-- It is kept as "USED AT" (grains, milliseconds), and its key goes when it has drained.
-- Places are a sorted set of leases, by the millisecond at which they lapse.

local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)

-- Grains used, and as of when: now, unless the server's clock went back.
local function level(key, rate)
  local used, since = string.match(redis.call('GET', key) or '', '^(%d+) (%d+)$')
  if not used then
    return 0, now
  end
  local at = math.max(now, since)
  return math.max(used - (at - since) * rate, 0), at
end

local function keep(key, used, at, rate)
  if used > 0 then
    local gone = at - now + math.ceil(used / rate)
    redis.call('SET', key, string.format('%.0f %.0f', used, at), 'PX', gone)
  else
    redis.call('DEL', key)
  end
end
