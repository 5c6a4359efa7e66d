-- What users do to a run.

-- A queued run is cancelled at once, a running one by its worker: the control list wakes it, `renew` tells it.
-- ARGV: run, who asks for it. Reply: "cancelled", or "finished" if it had ended.
function operations.cancel(id, author)
  local state = run_field(id, "state")
  if state == "queued" then
    move(id, "cancelled", "cancelled", by(author))
  elseif state == "running" then
    if redis.call("HSETNX", key("run", id), "cancelling", 1) == 1 then
      set(id, "cancelled_by", author)
      redis.call("LPUSH", key("run", id, "control"), "cancel")
      emit_run(id)
    end
  else
    return "finished"
  end
  return "cancelled"
end

-- Cancels a run if it waits for a worker. ARGV: run. Reply: "cancelled" or "left".
function operations.cancel_queued(id)
  if run_field(id, "state") ~= "queued" then
    return "left"
  end
  set(id, "unneeded", 1)
  move(id, "cancelled", "cancelled", "the plan needs it no more")
  return "cancelled"
end

-- Stops a trial that promises nothing. ARGV: run. Reply: as `cancel`.
function operations.stop_trial(id)
  if run_field(id, "state") ~= "running" then
    return "finished"
  end
  set(id, "unneeded", 1)
  return operations.cancel(id, "the search, which expects nothing of it")
end

-- An ended run goes to the queue again; it continues from its last checkpoint.
-- ARGV: run, who asks for it. Reply: "retried", or the state in which it cannot be.
function operations.retry(id, author)
  local state = run_field(id, "state")
  if state ~= "failed" and state ~= "cancelled" then
    return state
  end
  redis.call("HDEL", key("run", id), "error", "failure", "losses", "retries", "unneeded", "finished_at")
  local experiment, ekey = experiment_of(id)
  if experiment and redis.call("HGET", ekey, "plan_state") == "cancelled" then
    set_plan_state(experiment, "open")
  end
  move(id, "queued", "retried", by(author))
  return "retried"
end

-- A plan tries a failed run again by itself, not for ever, and what it has cancelled itself if it is needed after all.
-- ARGV: run. Reply: "retried" or "left".
function operations.retry_by_plan(id)
  local state = run_field(id, "state")
  if state == "failed" and tonumber(run_field(id, "retries") or "0") < tries_again then
    redis.call("HINCRBY", key("run", id), "retries", 1)
  elseif state ~= "cancelled" or not run_field(id, "unneeded") then
    return "left"
  end
  redis.call("HDEL", key("run", id), "error", "failure", "losses", "unneeded", "finished_at")
  move(id, "queued", "retried", "by the plan")
  return "retried"
end

-- Changes what users may change at any time: priority, note, tags, archived.
-- ARGV: run, then field and value alternately. Reply: "edited" or "gone".
function operations.edit(id, ...)
  if redis.call("EXISTS", key("run", id)) == 0 then
    return "gone"
  end
  local changes = { ... }
  local priority
  for i = 1, #changes, 2 do
    priority = changes[i] == "priority" and changes[i + 1] or priority
  end
  local moves = priority and run_field(id, "state") == "queued" and run_field(id, "priority") ~= priority
  if moves then
    leave_queue(id)
  end
  set(id, ...)
  if moves then
    enqueue(id, false)
    remember(id, "priority", run_field(id, "priority"))
  end
  emit_run(id)
  return "edited"
end

-- Adds and removes tags, so that two people who tag at the same time lose nothing.
-- ARGV: run, JSON lists of what to add and to remove, the most a run may have. Reply: "edited", "too many" or "gone".
function operations.edit_tags(id, added, removed, most)
  if redis.call("EXISTS", key("run", id)) == 0 then
    return "gone"
  end
  local left_out, tags = {}, {}
  for _, tag in ipairs(cjson.decode(removed)) do
    left_out[tag] = true
  end
  for _, list in ipairs({ run_field(id, "tags") or "[]", added }) do
    for _, tag in ipairs(cjson.decode(list)) do
      if not left_out[tag] then
        left_out[tag] = true -- once is enough
        table.insert(tags, tag)
      end
    end
  end
  if #tags > tonumber(most) then
    return "too many"
  end
  set(id, "tags", #tags > 0 and cjson.encode(tags) or "[]")
  emit_run(id)
  return "edited"
end

-- Forgets an ended or queued run; workers remove its checkpoints, the garbage, later.
-- ARGV: run. Reply: "deleted", "running" if it is, nil if it is gone.
function operations.delete(id)
  local state = run_field(id, "state")
  if not state or state == "running" then
    return state
  end
  local experiment, ekey = experiment_of(id)
  if state == "queued" then
    leave_queue(id)
  end
  if experiment then
    redis.call("ZREM", key("experiment", experiment, "runs"), id)
    redis.call("HINCRBY", ekey, state, -1)
    redis.call("HINCRBY", ekey, "epochs_done", -tonumber(run_field(id, "epoch")))
    redis.call("HINCRBY", ekey, "epochs_total", -epochs_expected(id, state))
    redis.call("HINCRBYFLOAT", ekey, "seconds", -tonumber(run_field(id, "seconds") or "0"))
    changed_plan(experiment)
    if redis.call("HEXISTS", ekey, "plan") == 1 then
      -- Its result may have counted, or would have: nobody must be able to take that away unseen.
      local deleted = cjson.decode(redis.call("HGET", ekey, "deleted") or "[]")
      table.insert(deleted, run_field(id, "spec"))
      redis.call("HSET", ekey, "deleted", cjson.encode(deleted))
    end
  end
  redis.call("ZREM", key("runs"), id)
  redis.call("SADD", key("garbage"), id)
  for _, part in ipairs({ "epochs", "log", "history", "lens", "confusion", "system", "control" }) do
    redis.call("DEL", key("run", id, part))
  end
  redis.call("DEL", key("run", id))
  emit("deleted", cjson.encode({ run_id = id, experiment_id = experiment or cjson.null }))
  emit_experiment(experiment)
  return "deleted"
end
