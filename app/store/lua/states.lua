-- A run's states, and what follows when it goes from one to another.

-- Tells that an experiment has ended once no run of it is unfinished and its plan, if it has one, queues no more.
local function tell_if_ended(experiment)
  local ekey = key("experiment", experiment)
  local counts = redis.call("HMGET", ekey, "queued", "running", "completed", "failed", "cancelled", "name", "plan_state")
  if tonumber(counts[1] or "0") + tonumber(counts[2] or "0") == 0 and counts[7] ~= "open" then
    news("experiment_ended", experiment,
      { name = counts[6], completed = counts[3] or "0", failed = counts[4] or "0", cancelled = counts[5] or "0" })
  end
end

-- Whether an open plan queues a run again by itself, which has failed for a reason that says nothing about its variant.
local function plan_tries_again(id)
  local experiment, ekey = experiment_of(id)
  return experiment and redis.call("HGET", ekey, "plan_state") == "open"
    and tried_again[run_field(id, "failure") or ""] and tonumber(run_field(id, "retries") or "0") < tries_again
end

-- Moves a run along an allowed transition; queue, lease, time line and the experiment's counters follow.
local allowed = {
  queued = { running = true, cancelled = true },
  running = { queued = true, completed = true, failed = true, cancelled = true },
  failed = { queued = true },
  cancelled = { queued = true },
}
local function move(id, to, what, detail)
  local from = run_field(id, "state")
  local asked_by = to == "cancelled" and by(run_field(id, "cancelled_by"))
  assert(allowed[from] and allowed[from][to], "a run cannot go from " .. from .. " to " .. to)
  set(id, "state", to)
  if from == "queued" and to == "running" then
    redis.call("ZREM", key("queued"), queue_member(id))
  elseif from == "queued" then
    leave_queue(id)
  elseif from == "running" then
    redis.call("ZREM", key("leases"), id)
    redis.call("HDEL", key("run", id), "token", "worker", "step", "steps", "epoch_seconds", "cancelling", "cancelled_by")
    redis.call("DEL", key("run", id, "control"))
  end
  if to == "queued" then
    enqueue(id, from == "running")
  elseif to ~= "running" then
    set(id, "finished_at", now())
  end
  remember(id, what or to, asked_by or detail)
  local experiment, ekey = experiment_of(id)
  if experiment then
    redis.call("HINCRBY", ekey, from, -1)
    redis.call("HINCRBY", ekey, to, 1)
    redis.call("HINCRBY", ekey, "epochs_total", epochs_expected(id, to) - epochs_expected(id, from))
    if to ~= "running" then
      changed_plan(experiment)
    end
  end
  emit_run(id)
  emit_experiment(experiment)
  local name = experiment and redis.call("HGET", ekey, "name")
  if to == "failed" and not plan_tries_again(id) then
    news("run_failed", experiment, { run_id = id, name = name or cjson.null, error = run_field(id, "error") })
  end
  if experiment and to ~= "queued" and to ~= "running" then
    tell_if_ended(experiment)
  end
end

-- A run whose worker or trainer vanished: back to the queue, or failed after too many losses without a finished epoch.
local function lose(id, max_losses, why)
  local losses = redis.call("HINCRBY", key("run", id), "losses", 1)
  if run_field(id, "cancelling") then
    move(id, "cancelled")
  elseif losses >= tonumber(max_losses) then
    local said = {}
    for _, entry in ipairs(redis.call("XREVRANGE", key("run", id, "log"), "+", "-", "COUNT", 5)) do
      table.insert(said, 1, entry[2][2])
    end
    local last = #said > 0 and "; it last printed: " .. table.concat(said, " / ") or ""
    set(id, "failure", "lost", "error", "lost " .. losses .. " times without finishing an epoch, the last time because " .. why .. last)
    move(id, "failed", "failed", why)
  else
    move(id, "queued", "lost", why)
  end
end
