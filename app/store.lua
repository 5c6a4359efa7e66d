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

-- Moves a run along an allowed transition; the experiment's counters follow.
local allowed = {
  queued = { running = true, cancelled = true },
  running = { queued = true, completed = true, failed = true, cancelled = true },
}
local function move(id, to)
  local from = run_field(id, "state")
  assert(allowed[from] and allowed[from][to], "a run cannot go from " .. from .. " to " .. to)
  set(id, "state", to)
  if from == "queued" then
    redis.call("ZREM", key("queued"), id)
  else
    redis.call("ZREM", key("leases"), id)
    redis.call("HDEL", key("run", id), "token", "worker", "step", "steps", "epoch_seconds", "cancelling")
    redis.call("DEL", key("run", id, "control"))
  end
  if to == "queued" then
    redis.call("ZADD", key("queued"), run_field(id, "order"), id)
  elseif to ~= "running" then
    set(id, "finished_at", now())
  end
  local experiment = run_field(id, "experiment_id")
  if experiment then
    local ekey = key("experiment", experiment)
    redis.call("HINCRBY", ekey, from, -1)
    redis.call("HINCRBY", ekey, to, 1)
    if to == "failed" or to == "cancelled" then
      local left = tonumber(run_field(id, "epochs")) - tonumber(run_field(id, "epoch"))
      redis.call("HINCRBY", ekey, "epochs_total", -left)
    end
  end
  emit_run(id)
  emit_experiment(experiment)
end

local function holds(id, token)
  return run_field(id, "token") == token
end

local operations = {}

-- id, then field/value pairs; joins its experiment's set and counters.
function operations.create_run(id, ...)
  local order = redis.call("INCR", key("order"))
  set(id, "id", id, "state", "queued", "order", order, "created_at", now(), ...)
  redis.call("ZADD", key("runs"), order, id)
  redis.call("ZADD", key("queued"), order, id)
  local experiment = run_field(id, "experiment_id")
  if experiment then
    redis.call("ZADD", key("experiment", experiment, "runs"), order, id)
    redis.call("HINCRBY", key("experiment", experiment), "queued", 1)
    redis.call("HINCRBY", key("experiment", experiment), "epochs_total", run_field(id, "epochs"))
  end
  emit_run(id)
  return id
end

function operations.create_experiment(id, ...)
  redis.call("HSET", key("experiment", id), "id", id, "created_at", now(), ...)
  redis.call("ZADD", key("experiments"), redis.call("INCR", key("order")), id)
  return id
end

function operations.announce_experiment(id)
  emit_experiment(id)
  return id
end

-- worker, token, lease in ms -> the id of the run that the worker may now train, or false.
function operations.claim(worker, token, lease)
  local id = redis.call("ZRANGE", key("queued"), 0, 0)[1]
  if not id then
    return false
  end
  redis.call("HINCRBY", key("run", id), "attempt", 1)
  redis.call("HSETNX", key("run", id), "started_at", now())
  set(id, "token", token, "worker", worker)
  move(id, "running")
  redis.call("ZADD", key("leases"), now() + tonumber(lease), id)
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
  move(id, state)
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

-- Runs whose worker fell silent: back to the queue, or failed after too many losses without a finished epoch.
function operations.expire_leases(max_losses)
  local lost = redis.call("ZRANGEBYSCORE", key("leases"), "-inf", now())
  for _, id in ipairs(lost) do
    local losses = redis.call("HINCRBY", key("run", id), "losses", 1)
    if run_field(id, "cancelling") then
      move(id, "cancelled")
    elseif losses >= tonumber(max_losses) then
      set(id, "error", "its worker was lost " .. losses .. " times without finishing an epoch")
      move(id, "failed")
    else
      move(id, "queued")
    end
  end
  return #lost
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
