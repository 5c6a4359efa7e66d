-- The queue: who is next, and whether anybody is.

-- The queue is sorted by priority, then fairly between experiments, then by arrival. Fair means start-time fair
-- queueing: each experiment's runs carry ascending tags, a newcomer's begin at the tag that is being served (the clock),
-- so experiments take turns. The member begins with the order of arrival, by which Redis sorts equal scores.
local function queue_member(id)
  return string.format("%016d:%s", run_field(id, "order"), id)
end

local function share_of(id)
  return (run_field(id, "priority") or "0") .. "/" .. (run_field(id, "experiment_id") or "")
end

local function enqueue(id, returning)
  local priority, share = run_field(id, "priority") or "0", share_of(id)
  local clock = tonumber(redis.call("HGET", key("shares"), priority) or "0")
  local tag = clock
  if not returning then
    tag = math.max(clock, tonumber(redis.call("HGET", key("shares"), share) or "0")) + 1
    redis.call("HSET", key("shares"), share, tag)
  end
  set(id, "tag", tag)
  local score = -tonumber(priority) * 1e9 + tag - (returning and 0.5 or 0) -- what returns goes before all others
  redis.call("ZADD", key("queued"), score, queue_member(id))
end

-- Takes the run from the queue without a worker; its experiment's runs behind it move up by the turn that it had.
local function leave_queue(id)
  local member = queue_member(id)
  local score = tonumber(redis.call("ZSCORE", key("queued"), member))
  redis.call("ZREM", key("queued"), member)
  if score % 1 ~= 0 then
    return -- it had been given back, which takes no turn
  end
  local share = share_of(id)
  local last = redis.call("HINCRBY", key("shares"), share, -1) + 1
  local behind = last - tonumber(run_field(id, "tag"))
  for _, other in ipairs(redis.call("ZRANGEBYSCORE", key("queued"), "(" .. score, score + behind)) do
    local other_id = string.match(other, ":(.+)")
    if share_of(other_id) == share then
      redis.call("ZINCRBY", key("queued"), -1, other)
      redis.call("HINCRBY", key("run", other_id), "tag", -1)
    end
  end
end

-- While the queue is paused nothing is claimed; what runs goes on.
-- ARGV: 1 to pause, 0 to go on. Reply: "done".
function operations.pause(paused)
  if paused == "1" then
    redis.call("SET", key("paused"), 1)
  else
    redis.call("DEL", key("paused"))
  end
  emit_queue()
  return "done"
end
