-- Begins every script. `scripts.rs` puts the constants MAX_EVENTS, MAX_ATTEMPTS and STATES before it.
--
-- KEYS[1] is the prefix of all keys. The other keys depend on what a script finds, so they cannot be declared. They
-- have the hash tag of the prefix, and the queue refuses a cluster.

local prefix = KEYS[1]

local time = redis.call('TIME')
-- Milliseconds since 1970.
local now = time[1] * 1000 + math.floor(time[2] / 1000)

-- Added to the score of a job of low priority, and taken from that of the job of a request. Sequence numbers are less than
-- half of it, so that no two priorities overlap.
local PER_PRIORITY = 2 ^ 51
-- The score of a client is its running jobs times this, plus the number of its latest take, which is smaller.
local PER_RUNNING = 2 ^ 40
-- Clients whose latest take is remembered. The others were served longer ago, or never.
local MAX_SERVED = 10000
-- Tokens of a job that are remembered. What earlier attempts have left in the store is found by its age.
local MAX_TOKENS = 100
-- Pauses that one script ends, so that it does not keep others waiting.
local MAX_ENDED_PAUSES = 100

-- Lets the script write although the memory of Redis is full: Redis refuses a command that needs memory only as long
-- as the script has written nothing. So whatever ends or removes jobs works, though only removal makes room.
local function work_when_full()
    redis.call('DEL', prefix .. 'nothing')
end

local function publish(hint)
    redis.call('PUBLISH', prefix .. 'hints', hint)
end

local function job_key(id)
    return prefix .. 'job:' .. id
end

-- Returns all fields of a record; an empty list if there is none.
local function record(id)
    return redis.call('HGETALL', job_key(id))
end

-- Reads what transitions need of a record.
local function load(id)
    local key = job_key(id)
    local found = redis.call('HMGET', key, 'state', 'version', 'token', 'attempts', 'memory', 'created', 'expires',
        'cancel', 'client', 'priority', 'bytes', 'delivery', 'events')
    if not found[1] then
        return nil
    end
    return {
        id = id,
        key = key,
        state = found[1],
        version = tonumber(found[2]),
        token = tonumber(found[3]),
        attempts = tonumber(found[4]),
        memory = tonumber(found[5]),
        created = tonumber(found[6]),
        expires = tonumber(found[7]),
        cancel = found[8],
        client = found[9],
        priority = found[10],
        bytes = tonumber(found[11]),
        delivery = found[12],
        events = found[13],
    }
end

-- Writes what most transitions change, and further fields.
local function save(job, ...)
    redis.call('HSET', job.key, 'state', job.state, 'version', job.version, 'attempts', job.attempts,
        'memory', job.memory, 'expires', job.expires, 'events', job.events, ...)
end

-- Whether this is the token of the attempt that runs. It may go on after the end of its lease, until a sweep ends it.
local function is_held(job, token)
    return job and job.state == 'running' and job.token == tonumber(token)
end

-- Whether this is the token of the attempt to deliver a webhook, and its lease has not ended. `key`: of the job.
local function is_delivery_held(key, token)
    local found = redis.call('HMGET', key, 'delivery_token', 'delivery_lease')
    return found[1] == token and found[2] and tonumber(found[2]) > now
end

-- Appends a line to a text of lines. Returns the text with its latest `most` lines.
local function append(text, line, most, replaces_last)
    local lines = {}
    for each in string.gmatch(text, '[^\n]+') do
        lines[#lines + 1] = each
    end
    if replaces_last and #lines > 0 then
        table.remove(lines)
    end
    lines[#lines + 1] = line
    while #lines > most do
        table.remove(lines, 1)
    end
    return table.concat(lines, '\n')
end

-- Gives a job its next version, and records an event for it, like `Job::record_event`.
local function record_event(job, progress, reason)
    job.version = job.version + 1
    local event = string.format('{"id":%.0f,"at":%.0f,"state":"%s","attempt":%.0f', job.version, now, job.state,
        job.attempts)
    if progress then
        event = event .. ',"progress":' .. progress
    end
    if reason then
        event = event .. ',"reason":"' .. reason .. '"'
    end
    local last = string.match(job.events, '[^\n]*$')
    local replaces_last = progress and string.find(last, '"progress":', 1, true)
    job.events = append(job.events, event .. '}', MAX_EVENTS, replaces_last)
end

-- Gives a job that has ended its next version. Its events are complete.
local function change_ended(key, id)
    redis.call('HINCRBY', key, 'version', 1)
    publish('c:' .. id)
end

-- Puts a client in its place among those that have queued jobs.
local function rank(client)
    if redis.call('EXISTS', prefix .. 'queue:' .. client) == 0 then
        redis.call('ZREM', prefix .. 'clients', client)
        return
    end
    local running = tonumber(redis.call('HGET', prefix .. 'client:' .. client, 'running') or 0)
    local served = tonumber(redis.call('ZSCORE', prefix .. 'served', client) or 0)
    redis.call('ZADD', prefix .. 'clients', running * PER_RUNNING + served, client)
end

-- Counts a job as unfinished (`sign` is 1), or not any more (-1).
local function count_unfinished(job, sign)
    local client = prefix .. 'client:' .. job.client
    -- Adding 0 turns -0, which Redis does not read, into 0.
    local bytes = sign * job.bytes + 0
    redis.call('HINCRBY', prefix .. 'counts', 'bytes', bytes)
    redis.call('HINCRBY', client, 'bytes', bytes)
    if redis.call('HINCRBY', client, 'jobs', sign) <= 0 then
        redis.call('DEL', client)
    end
end

local function count_running(job, sign)
    redis.call('HINCRBY', prefix .. 'client:' .. job.client, 'running', sign)
end

-- Takes a job out of every set that depends on its state.
local function leave(job)
    redis.call('ZREM', prefix .. 'list:' .. job.state .. ':' .. job.client, job.id)
    redis.call('HINCRBY', prefix .. 'counts', job.state, -1)
    if job.state == 'running' then
        redis.call('ZREM', prefix .. 'leases', job.id)
        count_running(job, -1)
        return
    end
    redis.call('ZREM', prefix .. 'expiry', job.id)
    if job.state == 'queued' then
        redis.call('ZREM', prefix .. 'queued', job.id)
        redis.call('ZREM', prefix .. 'queue:' .. job.client, job.id)
        redis.call('ZREM', prefix .. 'paused', job.id)
    end
end

-- Puts a job into the sets of a state, except those of the order in which jobs are taken, of pauses and of leases.
local function enter(job, state)
    job.state = state
    redis.call('ZADD', prefix .. 'list:' .. state .. ':' .. job.client, 0, job.id)
    redis.call('HINCRBY', prefix .. 'counts', state, 1)
    if state ~= 'running' then
        redis.call('ZADD', prefix .. 'expiry', job.expires, job.id)
    end
    if state == 'queued' then
        redis.call('ZADD', prefix .. 'queued', job.created, job.id)
    end
end

-- Gives a queued job its place among those of its client and priority: behind them, or before them.
local function line_up(job, is_first)
    local order = redis.call('INCR', prefix .. 'sequence')
    if is_first then
        order = 0 - order
    end
    if job.priority == 'low' then
        order = order + PER_PRIORITY
    elseif job.priority == 'request' then
        order = order - PER_PRIORITY
    end
    redis.call('ZADD', prefix .. 'queue:' .. job.client, order, job.id)
    rank(job.client)
    publish('q')
end

-- Gives jobs whose pause has ended a place behind those of their clients; some of them only if there are many. Returns
-- whether there may be more.
local function end_pauses()
    local ended = redis.call('ZRANGEBYSCORE', prefix .. 'paused', '-inf', now, 'LIMIT', 0, MAX_ENDED_PAUSES)
    for _, id in ipairs(ended) do
        redis.call('ZREM', prefix .. 'paused', id)
        local job = load(id)
        if job then
            line_up(job, false)
        else
            -- A Redis that evicts has lost the record.
            redis.call('ZREM', prefix .. 'queued', id)
        end
    end
    return #ended >= MAX_ENDED_PAUSES
end

-- Queues a running job again: before all others of its client and priority, or after a pause in milliseconds.
local function requeue(job, reason, pause)
    leave(job)
    enter(job, 'queued')
    if pause then
        redis.call('ZADD', prefix .. 'paused', now + pause, job.id)
        rank(job.client)
    else
        line_up(job, true)
    end
    record_event(job, nil, reason)
    redis.call('HDEL', job.key, 'progress')
    save(job)
    publish('c:' .. job.id)
end

-- Ends a job. `field` holds its result or its error. Its webhook is due from now on.
local function end_job(job, state, ttl, field, content)
    leave(job)
    count_unfinished(job, -1)
    rank(job.client)
    job.expires = now + ttl
    enter(job, state)
    record_event(job)
    redis.call('HDEL', job.key, 'progress', 'cancel')
    save(job, 'ended', now)
    if field then
        redis.call('HSET', job.key, field, content)
    end
    if job.delivery then
        redis.call('ZADD', prefix .. 'due', now, job.id)
        publish('d')
    end
    publish('c:' .. job.id)
end

-- Queues a running job again, or ends it; returns whether it is queued. `counts`: whether the attempt does. `pause`: in
-- milliseconds; `nil` for none. `final_error`: ends a job that is not tried again; `%d` in it stands for the number of
-- workers that the job has lost.
local function give_back(job, reason, counts, pause, ttl, final_error)
    if job.cancel then
        end_job(job, 'cancelled', ttl)
        return false
    end
    local lost = reason == 'worker_lost' and redis.call('HINCRBY', job.key, 'lost', 1)
    local is_last = job.attempts >= MAX_ATTEMPTS or (reason == 'out_of_memory' and job.memory > 1)
    if counts and is_last then
        end_job(job, 'failed', ttl, 'error', lost and string.gsub(final_error, '%%d', lost) or final_error)
        return false
    end
    if not counts then
        job.attempts = job.attempts - 1
    end
    if reason == 'out_of_memory' then
        job.memory = 2 * job.memory
    end
    if counts or reason == 'stopping' then
        job.expires = math.max(job.expires, now + ttl)
    end
    requeue(job, reason, pause)
    return true
end

-- Removes a job from everything.
local function remove_job(job)
    leave(job)
    if job.state == 'queued' or job.state == 'running' then
        count_unfinished(job, -1)
    end
    rank(job.client)
    redis.call('ZREM', prefix .. 'due', job.id)
    redis.call('DEL', job.key)
    publish('c:' .. job.id)
end
