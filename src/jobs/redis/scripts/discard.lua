-- Ends a running job that this version of the program cannot read. Its webhook is not sent, because its URL is unknown.

local id, token, ttl, why = unpack(ARGV)

local job = load(id)
if not is_held(job, token) then
    return 0
end
work_when_full()
redis.call('HDEL', job.key, 'delivery')
job.delivery = nil
-- Perhaps only these cannot be read.
job.events = ''
end_job(job, 'failed', ttl, 'error', why)
return 1
