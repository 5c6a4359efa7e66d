-- Queues runs, all or none.
-- ARGV: JSON of `runs` (id and fields), and where given of `experiment` (id, fields, whether it is new; else the runs are
-- added to it at its priority; the state of its plan) and `once`, an idempotency key with the fingerprint of its request;
-- the `author`, who asks for it.
-- Reply: "created" and the new ids; "repeated" and the ids of the first time; "conflict" if the request is another; "gone"
-- if there is no such experiment; "changed" if fields of it are not what they were (`was`).
function operations.create(payload)
  local given = cjson.decode(payload)
  local once = given.once and key("once", given.once.key)
  if once then
    local first = redis.call("HMGET", once, "fingerprint", "ids")
    if first[1] then
      return first[1] == given.once.fingerprint and { "repeated", unpack(cjson.decode(first[2])) } or { "conflict" }
    end
  end
  local experiment = given.experiment and given.experiment.id
  local ekey = experiment and key("experiment", experiment)
  local ids = { experiment }
  for _, run in ipairs(experiment and {} or given.runs) do
    table.insert(ids, run.id)
  end
  if given.runs[1] and redis.call("EXISTS", key("run", given.runs[1].id)) == 1 then
    return { "created", unpack(ids) } -- the client repeats a command whose reply it lost
  end
  if experiment and not given.experiment.is_new and redis.call("EXISTS", ekey) == 0 then
    return { "gone" }
  end
  for field, value in pairs(experiment and given.experiment.was or {}) do
    if redis.call("HGET", ekey, field) ~= value then
      return { "changed" }
    end
  end
  if experiment and #given.experiment.fields > 0 then
    redis.call("HSET", ekey, unpack(given.experiment.fields))
  end
  if experiment and given.experiment.is_new then
    redis.call("HSET", ekey, "id", experiment, "created_at", now(), "author", given.author)
    redis.call("ZADD", key("experiments"), redis.call("INCR", key("order")), experiment)
    if given.experiment.plan_state then
      redis.call("HSET", ekey, "planned_at", now())
    end
  end
  local was_open = experiment and redis.call("HGET", ekey, "plan_state") == "open"
  if experiment and given.experiment.plan_state then
    set_plan_state(experiment, given.experiment.plan_state)
    redis.call("HINCRBY", ekey, "plan_changes", 1)
  end
  for _, run in ipairs(given.runs) do
    local id, order = run.id, redis.call("INCR", key("order"))
    set(id, "id", id, "state", "queued", "order", order, "created_at", now(), "epoch", 0, "author", given.author, unpack(run.fields))
    redis.call("ZADD", key("runs"), order, id)
    if experiment then
      set(id, "experiment_id", experiment, "priority", redis.call("HGET", ekey, "priority") or "0")
      redis.call("ZADD", key("experiment", experiment, "runs"), order, id)
      redis.call("HINCRBY", ekey, "queued", 1)
      redis.call("HINCRBY", ekey, "epochs_total", run_field(id, "epochs"))
    end
    enqueue(id, false)
    remember(id, "queued")
    emit_run(id)
  end
  emit_experiment(experiment)
  if was_open then
    tell_if_ended(experiment)
  end
  if once then
    redis.call("HSET", once, "fingerprint", given.once.fingerprint, "ids", cjson.encode(ids))
    redis.call("PEXPIRE", once, given.once.kept_ms)
  end
  return { "created", unpack(ids) }
end
