-- Ends pauses, queues or ends jobs whose lease has ended, and expires or removes those that are too old: at most `most`
-- of each. `kept`: for how long a job that should be removed stays while its webhook is not delivered, at a time; `life`:
-- in all, after its end. `asked`: when the caller asked for the sweep. If it comes `late`, it ends no lease.
-- Returns {whether there may be more, requeued, dead, cancelled, expired, removed}: lists of IDs, the last one of IDs, numbers of
-- files, and texts with a line for each token.

local most, ttl, kept, life, workers_lost = tonumber(ARGV[1]), ARGV[2], ARGV[3], ARGV[4], ARGV[5]
local asked, late = ARGV[6], tonumber(ARGV[7])
local requeued, dead, cancelled, expired, removed = {}, {}, {}, {}, {}

work_when_full()
local are_more_paused = end_pauses()

local leases = {}
if now - asked < late then
    leases = redis.call('ZRANGEBYSCORE', prefix .. 'leases', '-inf', now, 'LIMIT', 0, most)
end
for _, id in ipairs(leases) do
    local job = load(id)
    if not job then
        -- A Redis that evicts has lost the record.
        redis.call('ZREM', prefix .. 'leases', id)
    elseif give_back(job, 'worker_lost', true, nil, ttl, workers_lost) then
        table.insert(requeued, id)
    else
        table.insert(job.state == 'cancelled' and cancelled or dead, id)
    end
end

local old = redis.call('ZRANGEBYSCORE', prefix .. 'expiry', '-inf', now, 'LIMIT', 0, most)
for _, id in ipairs(old) do
    local job = load(id)
    if not job then
        redis.call('ZREM', prefix .. 'expiry', id)
    elseif job.state == 'queued' then
        end_job(job, 'expired', ttl)
        table.insert(expired, id)
    elseif redis.call('ZSCORE', prefix .. 'due', id) and redis.call('HGET', job.key, 'ended') + life > now then
        redis.call('HSET', job.key, 'expires', now + kept)
        redis.call('ZADD', prefix .. 'expiry', now + kept, id)
        change_ended(job.key, id)
    else
        table.insert(removed, id)
        table.insert(removed, redis.call('HGET', job.key, 'files'))
        table.insert(removed, redis.call('HGET', job.key, 'tokens') or '')
        remove_job(job)
    end
end

local are_more = are_more_paused or #leases >= most or #old >= most
return {are_more and 1 or 0, requeued, dead, cancelled, expired, removed}
