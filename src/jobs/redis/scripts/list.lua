-- Lists jobs of a client, newest first: IDs increase with time. Returns {whether there are more, records}.

local client, state, before, size = ARGV[1], ARGV[2], ARGV[3], tonumber(ARGV[4])

local ids = {}
for _, each in ipairs(STATES) do
    if state == '' or state == each then
        local list = prefix .. 'list:' .. each .. ':' .. client
        local newest = before == '' and '+' or '(' .. before
        for _, id in ipairs(redis.call('ZREVRANGEBYLEX', list, newest, '-', 'LIMIT', 0, size + 1)) do
            table.insert(ids, id)
        end
    end
end
table.sort(ids, function(one, other) return one > other end)

local records = {}
for place = 1, math.min(size, #ids) do
    local found = record(ids[place])
    if #found > 0 then
        table.insert(records, found)
    end
end
return {#ids > size and 1 or 0, records}
