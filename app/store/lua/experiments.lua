-- What users do to an experiment.

-- ARGV: experiment, then field and value alternately. Reply: "edited" or "gone".
function operations.edit_experiment(experiment, ...)
  if redis.call("EXISTS", key("experiment", experiment)) == 0 then
    return "gone"
  end
  redis.call("HSET", key("experiment", experiment), ...)
  emit_experiment(experiment)
  return "edited"
end

-- Changes how many seeds a plan may take.
-- ARGV: experiment, seeds. Reply: "raised", or the number that is allowed already, if that is not less.
function operations.raise_budget(experiment, seeds)
  local ekey = key("experiment", experiment)
  local allowed = redis.call("HGET", ekey, "max_seeds")
  if tonumber(allowed) >= tonumber(seeds) then
    return allowed
  end
  redis.call("HSET", ekey, "max_seeds", seeds)
  if redis.call("HGET", ekey, "plan_state") == "ended" then
    set_plan_state(experiment, "open")
  end
  changed_plan(experiment)
  emit_experiment(experiment)
  return "raised"
end

-- From now on the plan queues nothing more, if it was open; or it goes on, if it was cancelled.
-- ARGV: experiment, the state that it must have, the state that it gets. Reply: "done".
function operations.turn_plan(experiment, from, to)
  if redis.call("HGET", key("experiment", experiment), "plan_state") == from then
    set_plan_state(experiment, to)
    changed_plan(experiment)
    emit_experiment(experiment)
    if to == "cancelled" then
      tell_if_ended(experiment)
    end
  end
  return "done"
end

-- Forgets an experiment with all its runs.
-- ARGV: experiment. Reply: "deleted", or "running" if one of its runs is.
function operations.delete_experiment(experiment)
  local ekey = key("experiment", experiment)
  if tonumber(redis.call("HGET", ekey, "running") or "0") > 0 then
    return "running"
  end
  -- The last first: nobody moves up just to be deleted.
  for _, id in ipairs(redis.call("ZREVRANGE", key("experiment", experiment, "runs"), 0, -1)) do
    operations.delete(id)
  end
  redis.call("DEL", ekey, key("experiment", experiment, "runs"))
  redis.call("SREM", key("plans"), experiment)
  redis.call("ZREM", key("experiments"), experiment)
  emit("deleted", cjson.encode({ run_id = cjson.null, experiment_id = experiment }))
  return "deleted"
end
