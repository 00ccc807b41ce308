-- Returns the place of a queued job among those of its client, from 1; nothing if it has none, as during a pause.

local id = ARGV[1]

local client = redis.call('HGET', job_key(id), 'client')
local place = client and redis.call('ZRANK', prefix .. 'queue:' .. client, id)
return place and place + 1
