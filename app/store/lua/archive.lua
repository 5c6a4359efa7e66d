-- Takes a row from a backup.
-- ARGV: "run" or "experiment", id, JSON of its fields and, if it is a run, its streams (entries of id, field, value, ...).
-- Reply: "loaded"; "known" if this very row is here; "taken" if another row has its id.
function operations.load(kind, id, payload)
  local given = cjson.decode(payload)
  local row = key(kind, id)
  if redis.call("EXISTS", row) == 1 then
    return redis.call("HGET", row, "created_at") == given.fields.created_at and "known" or "taken"
  end
  for name, value in pairs(given.fields) do
    if value ~= cjson.null then
      redis.call("HSET", row, name, value)
    end
  end
  if kind == "experiment" then
    redis.call("ZADD", key("experiments"), redis.call("INCR", key("order")), id)
    emit_experiment(id)
    return "loaded"
  end
  local order = redis.call("INCR", key("order"))
  set(id, "order", order)
  redis.call("ZADD", key("runs"), order, id)
  for part, entries in pairs(given.streams) do
    for _, entry in ipairs(entries) do
      redis.call("XADD", key("run", id, part), unpack(entry))
    end
  end
  local state = run_field(id, "state")
  local experiment, ekey = experiment_of(id)
  if experiment then
    redis.call("ZADD", key("experiment", experiment, "runs"), order, id)
    redis.call("HINCRBY", ekey, state, 1)
    redis.call("HINCRBY", ekey, "epochs_total", epochs_expected(id, state))
    redis.call("HINCRBY", ekey, "epochs_done", run_field(id, "epoch"))
    redis.call("HINCRBYFLOAT", ekey, "seconds", run_field(id, "seconds") or "0")
  end
  if state == "queued" then
    enqueue(id, false)
  end
  emit_run(id)
  emit_experiment(experiment)
  return "loaded"
end
