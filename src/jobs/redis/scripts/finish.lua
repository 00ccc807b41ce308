-- Ends a running job. Returns 0 if the lease was lost.

local id, token, state, content, ttl = unpack(ARGV)

local job = load(id)
if not is_held(job, token) then
    return 0
end
work_when_full()
if job.cancel and state ~= 'succeeded' then
    state = 'cancelled'
end
local fields = {succeeded = 'result', failed = 'error'}
end_job(job, state, ttl, fields[state], content)
return 1
