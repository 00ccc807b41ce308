-- Removes a job, whatever its state. Returns {files, token}.

local id = ARGV[1]

local job = load(id)
if not job then
    return false
end
local files = redis.call('HGET', job.key, 'files')
work_when_full()
remove_job(job)
return {files, job.token}
