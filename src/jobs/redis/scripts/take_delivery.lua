-- Leases a webhook that is due. Returns the record of its job; nothing if none is due.

local lease = ARGV[1]

work_when_full()
while true do
    local id = redis.call('ZRANGEBYSCORE', prefix .. 'due', '-inf', now, 'LIMIT', 0, 1)[1]
    if not id then
        return false
    end
    local key = job_key(id)
    if redis.call('EXISTS', key) == 1 then
        -- When the lease ends, the webhook is due again.
        redis.call('ZADD', prefix .. 'due', now + lease, id)
        redis.call('HINCRBY', key, 'delivery_token', 1)
        redis.call('HSET', key, 'delivery_lease', now + lease)
        return record(id)
    end
    -- A Redis that evicts has lost the record.
    redis.call('ZREM', prefix .. 'due', id)
end
