-- Leases the next job to a worker. `requests_first` is 0 if the jobs of requests go behind the others of their client.
-- Returns {ID, token, record}; nothing if no job is queued.

local worker, lease, requests_first = unpack(ARGV)

-- Returns the ID that is next in the queue of a client.
local function first_of(queue)
    if requests_first == '0' then
        local other = redis.call('ZRANGEBYSCORE', queue, -PER_PRIORITY / 2, '+inf', 'LIMIT', 0, 1)[1]
        if other then
            return other
        end
    end
    return redis.call('ZRANGE', queue, 0, 0)[1]
end

work_when_full()
end_pauses()
while true do
    local client = redis.call('ZRANGE', prefix .. 'clients', 0, 0)[1]
    if not client then
        return false
    end
    local queue = prefix .. 'queue:' .. client
    local id = first_of(queue)
    local job = id and load(id)
    if job then
        leave(job)
        enter(job, 'running')
        redis.call('ZADD', prefix .. 'leases', now + lease, id)
        count_running(job, 1)
        redis.call('ZADD', prefix .. 'served', redis.call('INCR', prefix .. 'sequence'), client)
        redis.call('ZREMRANGEBYRANK', prefix .. 'served', 0, -1 - MAX_SERVED)
        rank(client)
        -- Redis may have lost its last second, or was set back to a backup, which does not know the latest tokens.
        job.token = math.max(job.token + 1, now)
        local tokens = redis.call('HGET', job.key, 'tokens') or ''
        tokens = append(tokens, string.format('%.0f', job.token), MAX_TOKENS)
        job.attempts = job.attempts + 1
        record_event(job)
        save(job, 'token', job.token, 'tokens', tokens, 'started', now, 'worker', worker)
        publish('c:' .. id)
        return {id, job.token, record(id)}
    end
    -- A Redis that evicts has lost the record.
    if id then
        redis.call('ZREM', queue, id)
        redis.call('ZREM', prefix .. 'queued', id)
    end
    rank(client)
end
