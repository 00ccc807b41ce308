-- Returns {the number of jobs in each state and the bytes of unfinished ones, webhooks to deliver, when the oldest
-- queued job was submitted}.

local numbers = {}
for place, state in ipairs(STATES) do
    numbers[place] = tonumber(redis.call('HGET', prefix .. 'counts', state) or 0)
end
numbers[#numbers + 1] = tonumber(redis.call('HGET', prefix .. 'counts', 'bytes') or 0)

local oldest = redis.call('ZRANGE', prefix .. 'queued', 0, 0, 'WITHSCORES')[2]
return {numbers, redis.call('ZCARD', prefix .. 'due'), oldest and tonumber(oldest) or false}
