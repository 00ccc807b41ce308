-- Returns which of these IDs have no record.

local unknown = {}
for _, id in ipairs(ARGV) do
    if redis.call('EXISTS', job_key(id)) == 0 then
        table.insert(unknown, id)
    end
end
return unknown
