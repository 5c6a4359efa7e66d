-- The run store's writes. One script, so that state, lease, counters and the event that tells of them change together.
-- KEYS[1]: key prefix. ARGV[1]: operation. ARGV[2]: events kept. ARGV[3...]: the operation's arguments.
-- "stale" in reply means that the caller's lease is gone.

local prefix = KEYS[1]
local events_kept = ARGV[2]

local function key(...)
  return prefix .. table.concat({ ... }, ":")
end

local function now()
  local time = redis.call("TIME")
  return tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
end

local function emit(kind, data)
  redis.call("XADD", key("events"), "MAXLEN", "~", events_kept, "*", "kind", kind, "data", data)
end

local function snapshot(hash_key)
  local flat = redis.call("HGETALL", hash_key)
  local map = {}
  for i = 1, #flat, 2 do
    map[flat[i]] = flat[i + 1]
  end
  return cjson.encode(map)
end

local function run_field(id, field)
  return redis.call("HGET", key("run", id), field)
end

local function set(id, ...)
  redis.call("HSET", key("run", id), ...)
end

local function emit_run(id)
  emit("run", snapshot(key("run", id)))
end

local function emit_experiment(experiment)
  if experiment then
    emit("experiment", snapshot(key("experiment", experiment)))
  end
end

local function emit_queue()
  emit("queue", string.format('{"paused":%s}', redis.call("EXISTS", key("paused")) == 1 and "true" or "false"))
end

-- What users want to be told even if they do not look: to pages at once, and kept for the webhook.
local function news(what, experiment, about)
  about.what, about.experiment_id = what, experiment or cjson.null
  local data = cjson.encode(about)
  emit("news", data)
  redis.call("XADD", key("news"), "MAXLEN", "~", 1000, "*", "what", what, "experiment_id", experiment or "", "data", data)
end

-- The run's time line: what happened, and why or by which worker.
local function remember(id, what, detail)
  redis.call("XADD", key("run", id, "history"), "MAXLEN", "~", 1000, "*", "what", what, "detail", detail or "")
end

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

local function experiment_of(id)
  local experiment = run_field(id, "experiment_id")
  return experiment, experiment and key("experiment", experiment)
end

-- Epochs of the run that its experiment counts on: runs that ended early will never reach the rest.
local function epochs_expected(id, state)
  local ended_early = state == "failed" or state == "cancelled"
  return tonumber(run_field(id, ended_early and "epoch" or "epochs"))
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
  assert(allowed[from] and allowed[from][to], "a run cannot go from " .. from .. " to " .. to)
  set(id, "state", to)
  if from == "queued" and to == "running" then
    redis.call("ZREM", key("queued"), queue_member(id))
  elseif from == "queued" then
    leave_queue(id)
  elseif from == "running" then
    redis.call("ZREM", key("leases"), id)
    redis.call("HDEL", key("run", id), "token", "worker", "step", "steps", "epoch_seconds", "cancelling")
    redis.call("DEL", key("run", id, "control"))
  end
  if to == "queued" then
    enqueue(id, from == "running")
  elseif to ~= "running" then
    set(id, "finished_at", now())
  end
  remember(id, what or to, detail)
  local experiment, ekey = experiment_of(id)
  if experiment then
    redis.call("HINCRBY", ekey, from, -1)
    redis.call("HINCRBY", ekey, to, 1)
    redis.call("HINCRBY", ekey, "epochs_total", epochs_expected(id, to) - epochs_expected(id, from))
  end
  emit_run(id)
  emit_experiment(experiment)
  local name = experiment and redis.call("HGET", ekey, "name")
  if to == "failed" then
    news("run_failed", experiment, { run_id = id, name = name or cjson.null, error = run_field(id, "error") })
  end
  if experiment and to ~= "queued" and to ~= "running" then
    local counts = redis.call("HMGET", ekey, "queued", "running", "completed", "failed", "cancelled")
    if tonumber(counts[1] or "0") + tonumber(counts[2] or "0") == 0 then
      news("experiment_ended", experiment,
        { name = name, completed = counts[3] or "0", failed = counts[4] or "0", cancelled = counts[5] or "0" })
    end
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
    set(id, "error", "lost " .. losses .. " times without finishing an epoch, the last time because " .. why .. last)
    move(id, "failed", "failed", why)
  else
    move(id, "queued", "lost", why)
  end
end

local function holds(id, token)
  return run_field(id, "token") == token
end

local operations = {}

-- What to create, as JSON: runs (id and fields), and where given the experiment (id, fields, whether it is new, else the
-- runs are added to it with its priority) and an idempotency key with the fingerprint of its request.
-- -> "created" and the new ids; "repeated" and the ids of the first time; "conflict" if the request is another.
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
  elseif experiment then
    redis.call("HSET", ekey, unpack(given.experiment.fields))
  end
  if experiment and given.experiment.is_new then
    redis.call("HSET", ekey, "id", experiment, "created_at", now())
    redis.call("ZADD", key("experiments"), redis.call("INCR", key("order")), experiment)
  end
  for _, run in ipairs(given.runs) do
    local id, order = run.id, redis.call("INCR", key("order"))
    set(id, "id", id, "state", "queued", "order", order, "created_at", now(), "epoch", 0, unpack(run.fields))
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
  if once then
    redis.call("HSET", once, "fingerprint", given.once.fingerprint, "ids", cjson.encode(ids))
    redis.call("PEXPIRE", once, given.once.kept_ms)
  end
  return { "created", unpack(ids) }
end

-- worker, token, lease in ms -> the id of the run that the worker may now train, or false.
function operations.claim(worker, token, lease)
  local member = redis.call("ZRANGE", key("queued"), 0, 0)[1]
  if not member or redis.call("EXISTS", key("paused")) == 1 then
    return false
  end
  local id = string.match(member, ":(.+)")
  redis.call("HSET", key("shares"), run_field(id, "priority") or "0", run_field(id, "tag"))
  redis.call("HINCRBY", key("run", id), "attempt", 1)
  redis.call("HSETNX", key("run", id), "started_at", now())
  set(id, "token", token, "worker", worker)
  move(id, "running", run_field(id, "epoch") == "0" and "started" or "resumed", worker)
  redis.call("ZADD", key("leases"), now() + tonumber(lease), id)
  if redis.call("EXISTS", key("queued")) == 0 then
    redis.call("DEL", key("shares"))
  end
  return id
end

function operations.renew(id, token, lease)
  if not holds(id, token) then
    return "stale"
  end
  redis.call("ZADD", key("leases"), now() + tonumber(lease), id)
  return "held"
end

-- Field/value pairs that describe the run while it trains: device, progress within the epoch, ...
function operations.describe(id, token, ...)
  if not holds(id, token) then
    return "stale"
  end
  set(id, ...)
  emit_run(id)
  return "held"
end

-- The stream's explicit id makes a second record of an epoch impossible; a repeat changes nothing.
function operations.record_epoch(id, token, epoch, record)
  if not holds(id, token) then
    return "stale"
  end
  local reply = redis.pcall("XADD", key("run", id, "epochs"), epoch .. "-0", "record", record)
  if type(reply) == "table" and reply.err then
    if string.find(reply.err, "equal or smaller", 1, true) then
      return "repeated"
    end
    error(reply.err)
  end
  local values = cjson.decode(record)
  local best = tonumber(run_field(id, "best_top1") or "-1")
  local rkey = key("run", id)
  redis.call("HDEL", rkey, "step", "steps", "epoch_seconds", "losses")
  redis.call("HINCRBYFLOAT", rkey, "seconds", values.seconds)
  set(id, "epoch", epoch, "final_top1", values.val_top1, "best_top1", math.max(best, values.val_top1),
    "images_per_second", values.images_per_second)
  local experiment = run_field(id, "experiment_id")
  emit("epoch", string.format('{"run_id":"%s","experiment_id":%s,"record":%s}',
    id, experiment and '"' .. experiment .. '"' or "null", record))
  emit_run(id)
  if experiment then
    redis.call("HINCRBY", key("experiment", experiment), "epochs_done", 1)
    redis.call("HINCRBYFLOAT", key("experiment", experiment), "seconds", values.seconds)
    emit_experiment(experiment)
  end
  return "recorded"
end

-- What the pooling step looks at at the end of an epoch; as with records, a repeat changes nothing.
function operations.record_look(id, token, epoch, look)
  if not holds(id, token) then
    return "stale"
  end
  local newest = redis.call("XREVRANGE", key("run", id, "lens"), "+", "-", "COUNT", 1)[1]
  if newest and tonumber(string.match(newest[1], "%d+")) >= tonumber(epoch) then
    return "repeated"
  end
  redis.call("XADD", key("run", id, "lens"), epoch .. "-0", "look", look)
  return "recorded"
end

-- hits: images that were classified rightly. The stream begins with the best epoch's matrix and ends with the newest.
function operations.record_confusion(id, token, epoch, hits, counts)
  if not holds(id, token) then
    return "stale"
  end
  local confusions = key("run", id, "confusion")
  local entries = redis.call("XRANGE", confusions, "-", "+")
  local best, newest = entries[1], entries[#entries]
  if newest and tonumber(string.match(newest[1], "%d+")) >= tonumber(epoch) then
    return "repeated"
  end
  if best and tonumber(hits) > tonumber(best[2][2]) then
    redis.call("DEL", confusions)
  elseif #entries == 2 then
    redis.call("XDEL", confusions, newest[1])
  end
  redis.call("XADD", confusions, epoch .. "-0", "hits", hits, "counts", counts)
  return "recorded"
end

-- state: completed, failed, cancelled, or queued (handed back for another worker); error: why it failed, or "".
function operations.release(id, token, state, error)
  if not holds(id, token) then
    return "stale"
  end
  if error ~= "" then
    set(id, "error", error)
  end
  if state == "queued" and run_field(id, "cancelling") then
    state = "cancelled"
  end
  move(id, state, state == "queued" and "handed back" or state, error)
  return "released"
end

-- The trainer crashed; why: what is known of it.
function operations.lose(id, token, max_losses, why)
  if not holds(id, token) then
    return "stale"
  end
  lose(id, max_losses, why)
  return "released"
end

-- A queued run is cancelled at once, a running one by its worker, which waits on the control list.
function operations.cancel(id)
  local state = run_field(id, "state")
  if state == "queued" then
    move(id, "cancelled")
  elseif state == "running" then
    if redis.call("HSETNX", key("run", id), "cancelling", 1) == 1 then
      redis.call("LPUSH", key("run", id, "control"), "cancel")
      emit_run(id)
    end
  else
    return "finished"
  end
  return "cancelled"
end

-- Takes the runs of silent workers from them. Workers sweep every few seconds, so a long gap since the last sweep means
-- that the database was away, and with it the chance to renew: that time does not count. No lease gets longer than new.
function operations.expire_leases(max_losses, longest_gap, lease)
  local time = now()
  local gap = time - tonumber(redis.call("GET", key("swept_at")) or time)
  redis.call("SET", key("swept_at"), time)
  if gap > tonumber(longest_gap) then
    for _, id in ipairs(redis.call("ZRANGE", key("leases"), 0, -1)) do
      local expires = tonumber(redis.call("ZSCORE", key("leases"), id))
      redis.call("ZADD", key("leases"), math.min(expires + gap, time + tonumber(lease)), id)
    end
    return 0
  end
  local lost = redis.call("ZRANGEBYSCORE", key("leases"), "-inf", time)
  for _, id in ipairs(lost) do
    lose(id, max_losses, "its worker " .. (run_field(id, "worker") or "?") .. " fell silent")
  end
  return #lost
end

-- An ended run goes to the queue again; it continues from its last checkpoint.
function operations.retry(id)
  local state = run_field(id, "state")
  if state ~= "failed" and state ~= "cancelled" then
    return state
  end
  redis.call("HDEL", key("run", id), "error", "losses", "finished_at")
  move(id, "queued", "retried")
  return "retried"
end

-- Field/value pairs that users may change at any time: priority, note, tags, archived.
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

function operations.edit_experiment(experiment, ...)
  if redis.call("EXISTS", key("experiment", experiment)) == 0 then
    return "gone"
  end
  redis.call("HSET", key("experiment", experiment), ...)
  emit_experiment(experiment)
  return "edited"
end

-- Forgets an ended or queued run; workers remove its checkpoints, the garbage, later.
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
  end
  redis.call("ZREM", key("runs"), id)
  redis.call("SADD", key("garbage"), id)
  for _, part in ipairs({ "epochs", "log", "history", "lens", "confusion", "control" }) do
    redis.call("DEL", key("run", id, part))
  end
  redis.call("DEL", key("run", id))
  emit("deleted", cjson.encode({ run_id = id, experiment_id = experiment or cjson.null }))
  emit_experiment(experiment)
  return "deleted"
end

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

-- A row from a backup, as JSON: fields, and of a run its streams (entries of id, field, value, ...).
-- -> "loaded"; "known" if this very row is here; "taken" if another row has its id.
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

-- While the queue is paused nothing is claimed; what runs goes on.
function operations.pause(paused)
  if paused == "1" then
    redis.call("SET", key("paused"), 1)
  else
    redis.call("DEL", key("paused"))
  end
  emit_queue()
  return "done"
end

-- Lines of the trainer's output.
function operations.log(id, token, lines_kept, ...)
  if not holds(id, token) then
    return "stale"
  end
  for _, line in ipairs({ ... }) do
    redis.call("XADD", key("run", id, "log"), "MAXLEN", "~", lines_kept, "*", "text", line)
  end
  return "held"
end

return operations[ARGV[1]](unpack(ARGV, 3))
