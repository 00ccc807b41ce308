-- Lets leases of jobs that have ended go on from now. Returns their number.

local lease = ARGV[1]

work_when_full()
local ended = redis.call('ZRANGEBYSCORE', prefix .. 'leases', '-inf', now)
for _, id in ipairs(ended) do
    redis.call('ZADD', prefix .. 'leases', now + lease, id)
end
return #ended
