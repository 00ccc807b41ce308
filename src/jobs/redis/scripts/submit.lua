-- Records a new job, unless its key was used or a limit is reached. A refusal changes nothing.
-- Returns {word, record}.

local id, spec, client, priority, bytes, files, delivery, ttl, most_jobs, most_of_client, most_bytes,
    most_bytes_of_client, key, token, fingerprint, key_life = unpack(ARGV)

-- The same job once more, after an answer was lost.
local found = record(id)
if #found > 0 then
    return {'new', found}
end

local reserved, used = prefix .. 'reserved:' .. key, prefix .. 'used:' .. key
local is_reserved = false
if key ~= '' then
    local holder = redis.call('GET', reserved)
    is_reserved = holder == token
    local earlier = redis.call('GET', used)
    if earlier then
        local earlier_id, earlier_fingerprint = string.match(earlier, '(%S+) (%S+)')
        if earlier_fingerprint ~= fingerprint then
            return {'key_reused', {}}
        end
        found = record(earlier_id)
        -- If the job was removed, there is nothing to replay.
        if #found > 0 then
            if is_reserved then
                redis.call('DEL', reserved)
            end
            return {'replayed', found}
        end
    end
    if holder and not is_reserved then
        return {'key_in_flight', {}}
    end
end

bytes = tonumber(bytes)
local all = redis.call('HMGET', prefix .. 'counts', 'queued', 'running', 'bytes')
local own = redis.call('HMGET', prefix .. 'client:' .. client, 'jobs', 'bytes')
if (own[1] or 0) + 1 > tonumber(most_of_client) then
    return {'client_jobs', {}}
end
if (all[1] or 0) + (all[2] or 0) + 1 > tonumber(most_jobs) then
    return {'jobs', {}}
end
if (own[2] or 0) + bytes > tonumber(most_bytes_of_client) then
    return {'client_bytes', {}}
end
if (all[3] or 0) + bytes > tonumber(most_bytes) then
    return {'bytes', {}}
end

local job = {
    id = id,
    key = job_key(id),
    version = 0,
    attempts = 0,
    memory = 1,
    created = now,
    expires = now + ttl,
    client = client,
    priority = priority,
    bytes = bytes,
    events = '',
}
redis.call('HSET', job.key, 'id', id, 'spec', spec, 'client', client, 'priority', priority, 'bytes', bytes,
    'files', files, 'created', now, 'token', 0)
if delivery ~= '' then
    redis.call('HSET', job.key, 'delivery', delivery)
end
count_unfinished(job, 1)
enter(job, 'queued')
line_up(job, false)
record_event(job)
save(job)
if key ~= '' then
    redis.call('SET', used, id .. ' ' .. fingerprint, 'PX', key_life)
    if is_reserved then
        redis.call('DEL', reserved)
    end
end
return {'new', record(id)}
