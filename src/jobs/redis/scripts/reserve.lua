-- Reserves a key for idempotency, or renews the reservation. Returns 0 if another request holds it.

local key, token, life = prefix .. 'reserved:' .. ARGV[1], ARGV[2], ARGV[3]

local holder = redis.call('GET', key)
if holder and holder ~= token then
    return 0
end
redis.call('SET', key, token, 'PX', life)
return 1
