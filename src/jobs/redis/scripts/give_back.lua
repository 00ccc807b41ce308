-- Queues a running job again, or ends it. `counts` is 1 if the attempt does; `pause` is empty if there is none.
-- Returns 0 if the lease was lost.

local id, token, reason, counts, pause, ttl, final_error = unpack(ARGV)

local job = load(id)
if not is_held(job, token) then
    return 0
end
work_when_full()
give_back(job, reason, counts == '1', tonumber(pause), ttl, final_error)
return 1
