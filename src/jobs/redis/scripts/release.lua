-- Gives up the reservation of a key, if this token holds it.

local key, token = prefix .. 'reserved:' .. ARGV[1], ARGV[2]

if redis.call('GET', key) == token then
    redis.call('DEL', key)
end
return 1
