-- Removes a job, whatever its state. Returns {files, tokens}: a text with a line for each token.

local id = ARGV[1]

local job = load(id)
if not job then
    return false
end
local found = redis.call('HMGET', job.key, 'files', 'tokens')
work_when_full()
remove_job(job)
return {found[1], found[2] or ''}
