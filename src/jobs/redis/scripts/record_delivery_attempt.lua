-- Records an attempt to deliver a webhook. `pause` is empty if there will be no other. Returns 0 if the lease was lost.

local id, token, attempt, pause, most = unpack(ARGV)

local key = job_key(id)
if not is_delivery_held(key, token) then
    return 0
end
work_when_full()
local deliveries = append(redis.call('HGET', key, 'deliveries') or '', attempt, tonumber(most))
redis.call('HSET', key, 'deliveries', deliveries)
redis.call('HINCRBY', key, 'delivery_attempts', 1)
redis.call('HDEL', key, 'delivery_lease')
if pause == '' then
    redis.call('ZREM', prefix .. 'due', id)
else
    redis.call('ZADD', prefix .. 'due', now + pause, id)
end
change_ended(key, id)
return 1
