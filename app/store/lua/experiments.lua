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
  redis.call("ZREM", key("experiments"), experiment)
  emit("deleted", cjson.encode({ run_id = cjson.null, experiment_id = experiment }))
  return "deleted"
end
