-- What all operations use. The files of this folder are one script, joined in the order of `RunStore`'s list: state,
-- lease, counters and the event that tells of them change together, or not at all.
-- Before them stand `tries_again` and `tried_again`, the constants of `app/store/plan.py`.
-- KEYS[1]: key prefix. ARGV[1]: operation. ARGV[2]: events kept. ARGV[3...]: the operation's arguments, which
-- its header names, with its reply.

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

-- Who has done something, for a time line; nil if nobody has said.
local function by(author)
  return author and author ~= "" and "by " .. author or nil
end

-- What a plan or a search of settings goes by has changed: runs of its experiment, or what users want of it. Whoever decides what follows
-- (`RunStore.advance_plan`) sees by the count that its view is old.
local function changed_plan(experiment)
  local ekey = key("experiment", experiment or "")
  if experiment and redis.call("HEXISTS", ekey, "plan_state") == 1 then
    redis.call("HINCRBY", ekey, "plan_changes", 1)
    redis.call("XADD", key("looks"), "MAXLEN", "~", 1000, "*", "experiment_id", experiment)
  end
end

-- Plans that are open are looked at again and again, the others only when something changes.
local function set_plan_state(experiment, state)
  redis.call("HSET", key("experiment", experiment), "plan_state", state)
  redis.call(state == "open" and "SADD" or "SREM", key("plans"), experiment)
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

local function experiment_of(id)
  local experiment = run_field(id, "experiment_id")
  return experiment, experiment and key("experiment", experiment)
end

-- Epochs of the run that its experiment counts on: runs that ended early will never reach the rest.
local function epochs_expected(id, state)
  local ended_early = state == "failed" or state == "cancelled"
  return tonumber(run_field(id, ended_early and "epoch" or "epochs"))
end

local operations = {}
