-- Ends a running job. Returns 0 if the lease was lost; 1 also if this attempt has ended the job in this way before.

local id, token, state, content, ttl = unpack(ARGV)

local job = load(id)
-- The attempt that has ended a job, and how.
local finished = token .. ' ' .. state
if not is_held(job, token) then
    return redis.call('HGET', job_key(id), 'finished') == finished and 1 or 0
end
work_when_full()
if job.cancel then
    state = 'cancelled'
end
local fields = {succeeded = 'result', failed = 'error'}
end_job(job, state, ttl, fields[state], content)
redis.call('HSET', job.key, 'finished', finished)
return 1
