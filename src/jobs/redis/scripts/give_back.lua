-- Queues a running job again, or ends it. Returns 0 if the lease was lost.

local id, token, reason, ttl, out_of_memory, lost = unpack(ARGV)

local job = load(id)
if not is_held(job, token) then
    return 0
end
work_when_full()
if job.cancel then
    end_job(job, 'cancelled', ttl)
elseif reason == 'worker_lost' then
    lose(job, ttl, lost)
elseif reason ~= 'out_of_memory' then
    job.attempts = job.attempts - 1
    requeue(job, reason)
elseif job.memory > 1 or job.attempts >= MAX_ATTEMPTS then
    end_job(job, 'failed', ttl, 'error', out_of_memory)
else
    job.memory = 2 * job.memory
    requeue(job, reason)
end
return 1
