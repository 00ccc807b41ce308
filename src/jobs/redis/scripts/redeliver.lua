-- Makes the webhook of a job that has ended due at once. Returns 0 if there is none.

local id = ARGV[1]

local key = job_key(id)
local found = redis.call('HMGET', key, 'delivery', 'ended')
if not found[1] or not found[2] then
    return 0
end
work_when_full()
redis.call('HDEL', key, 'delivery_lease')
redis.call('ZADD', prefix .. 'due', now, id)
publish('d')
return 1
