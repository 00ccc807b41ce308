-- Renews the lease of a running job, and records progress, if there is some.

local id, token, lease, progress = unpack(ARGV)

local job = load(id)
if not is_held(job, token) then
    return 'lost'
end
work_when_full()
redis.call('ZADD', prefix .. 'leases', now + lease, id)
if progress ~= '' then
    record_event(job, progress)
    save(job, 'progress', progress)
    publish('c:' .. id)
end
return job.cancel and 'cancelled' or 'held'
