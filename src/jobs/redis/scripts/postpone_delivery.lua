-- Returns a webhook that was taken and not sent; it is due again after a pause. Returns 0 if the lease was lost.

local id, token, pause = unpack(ARGV)

local key = job_key(id)
if not is_delivery_held(key, token) then
    return 0
end
work_when_full()
redis.call('HDEL', key, 'delivery_lease')
redis.call('ZADD', prefix .. 'due', now + pause, id)
return 1
