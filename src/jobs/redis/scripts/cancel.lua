-- Cancels a queued job, or asks the worker of a running one to do so. Returns the record.

local id, ttl = ARGV[1], ARGV[2]

local job = load(id)
if not job then
    return false
end
if job.state == 'queued' then
    work_when_full()
    end_job(job, 'cancelled', ttl)
elseif job.state == 'running' and not job.cancel then
    work_when_full()
    record_event(job)
    save(job, 'cancel', 1)
    publish('c:' .. id)
end
return record(id)
