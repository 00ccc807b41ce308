-- Records an attempt to deliver a webhook. `pause` is empty if there will be no other. Returns 0 if the lease was lost.

local id, token, attempt, pause, most = unpack(ARGV)

local key = job_key(id)
local found = redis.call('HMGET', key, 'delivery_token', 'delivery_lease', 'deliveries')
if found[1] ~= token or not found[2] or tonumber(found[2]) <= now then
    return 0
end
work_when_full()
redis.call('HDEL', key, 'delivery_lease')
redis.call('HINCRBY', key, 'delivery_attempts', 1)
redis.call('HSET', key, 'deliveries', append(found[3] or '', attempt, tonumber(most)))
if pause == '' then
    redis.call('ZREM', prefix .. 'due', id)
else
    redis.call('ZADD', prefix .. 'due', now + pause, id)
end
return 1
