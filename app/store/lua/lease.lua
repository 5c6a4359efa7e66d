-- Training: every write of a worker but the claim carries the lease's token, and replies "stale", without any change,
-- once the lease is gone.

local function holds(id, token)
  return run_field(id, "token") == token
end

local function entry_of(epoch)
  return epoch == "0" and "0-1" or epoch .. "-0"
end

-- Gives the first run of the queue to a worker. A claim that is repeated, as its reply was lost, gets the same run.
-- ARGV: worker, token, lease in ms. Reply: the id of the run that the worker may now train, or nil.
function operations.claim(worker, token, lease)
  for _, id in ipairs(redis.call("ZRANGE", key("leases"), 0, -1)) do
    if holds(id, token) then
      return id
    end
  end
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

-- ARGV: run, token. Reply: "held".
function operations.check(id, token)
  return holds(id, token) and "held" or "stale"
end

-- ARGV: run, token, lease in ms. Reply: "held", or "cancelling" if the user wants the run to end.
function operations.renew(id, token, lease)
  if not holds(id, token) then
    return "stale"
  end
  redis.call("ZADD", key("leases"), now() + tonumber(lease), id)
  return run_field(id, "cancelling") and "cancelling" or "held"
end

-- Writes what describes the run while it trains: device, progress within the epoch, ...
-- ARGV: run, token, then field and value alternately. Reply: "held".
function operations.describe(id, token, ...)
  if not holds(id, token) then
    return "stale"
  end
  set(id, ...)
  emit_run(id)
  return "held"
end

-- The stream's explicit id makes a second record of an epoch impossible; a repeat changes nothing. Epoch 0 is that of an
-- evaluation, without training: no stream has an entry 0-0, so its id is 0-1.
-- ARGV: run, token, epoch, the record as JSON. Reply: "recorded" or "repeated".
function operations.record_epoch(id, token, epoch, record)
  if not holds(id, token) then
    return "stale"
  end
  local reply = redis.pcall("XADD", key("run", id, "epochs"), entry_of(epoch), "record", record)
  if type(reply) == "table" and reply.err then
    if string.find(reply.err, "equal or smaller", 1, true) then
      return "repeated"
    end
    error(reply)
  end
  local values = cjson.decode(record)
  local best = tonumber(run_field(id, "best_top1") or "-1")
  local rkey = key("run", id)
  redis.call("HDEL", rkey, "step", "steps", "epoch_seconds", "losses")
  redis.call("HINCRBYFLOAT", rkey, "seconds", values.seconds)
  set(id, "epoch", epoch, "final_top1", values.val_top1, "best_top1", math.max(best, values.val_top1))
  if values.images_per_second ~= cjson.null then
    set(id, "images_per_second", values.images_per_second)
  end
  for field, value in pairs({final_balanced = values.val_balanced, final_nll = values.val_nll, final_ece = values.val_ece}) do
    if value ~= cjson.null then
      set(id, field, value)
    end
  end
  local experiment = run_field(id, "experiment_id")
  emit("epoch", string.format('{"run_id":"%s","experiment_id":%s,"record":%s}',
    id, experiment and '"' .. experiment .. '"' or "null", record))
  emit_run(id)
  if experiment then
    redis.call("HINCRBY", key("experiment", experiment), "epochs_done", epoch == "0" and 0 or 1)
    redis.call("HINCRBYFLOAT", key("experiment", experiment), "seconds", values.seconds)
    emit_experiment(experiment)
  end
  return "recorded"
end

-- Stores what the pooling step looks at at the end of an epoch; as with records, a repeat changes nothing.
-- ARGV: run, token, epoch, the look as JSON. Reply: "recorded" or "repeated".
function operations.record_look(id, token, epoch, look)
  if not holds(id, token) then
    return "stale"
  end
  local newest = redis.call("XREVRANGE", key("run", id, "lens"), "+", "-", "COUNT", 1)[1]
  if newest and tonumber(string.match(newest[1], "%d+")) >= tonumber(epoch) then
    return "repeated"
  end
  redis.call("XADD", key("run", id, "lens"), entry_of(epoch), "look", look)
  return "recorded"
end

-- Stores a confusion matrix. The stream begins with the best epoch's and ends with the newest.
-- ARGV: run, token, epoch, the number of images that were classified rightly, the counts as JSON. Reply: "recorded" or
-- "repeated".
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
  redis.call("XADD", confusions, entry_of(epoch), "hits", hits, "counts", counts)
  return "recorded"
end

-- Keeps the mean top-1 of a run's newest three epochs, as exact as it is: Redis cuts a number to 14 digits.
local function set_mean_of_newest(id)
  local entries = redis.call("XREVRANGE", key("run", id, "epochs"), "+", "-", "COUNT", 3)
  local sum = 0
  for _, entry in ipairs(entries) do
    sum = sum + cjson.decode(entry[2][2]).val_top1
  end
  if #entries > 0 then
    set(id, "last3_top1", string.format("%.17g", sum / #entries))
  end
end

-- Ends the lease.
-- ARGV: run, token, the new state (completed, failed, cancelled, or queued: handed back for another worker), why it failed
-- or "". Reply: "released".
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
  if state == "completed" then
    set_mean_of_newest(id)
  end
  move(id, state, state == "queued" and "handed back" or state, error)
  return "released"
end

-- Ends the lease as the trainer crashed.
-- ARGV: run, token, losses in a row that end a run, what is known of the crash. Reply: "released".
function operations.lose(id, token, max_losses, why)
  if not holds(id, token) then
    return "stale"
  end
  lose(id, max_losses, why)
  return "released"
end

-- Appends what training took of its machine; what a trainer that has ended took last is energy alone.
-- ARGV: run, token, joules since the last time, the reading as JSON. Reply: "held".
function operations.measure(id, token, joules, reading)
  if not holds(id, token) then
    return "stale"
  end
  local values = cjson.decode(reading)
  if values.cores then
    redis.call("XADD", key("run", id, "system"), "MAXLEN", "~", 4000, "*", "reading", reading)
  end
  if values.watts then
    redis.call("HINCRBYFLOAT", key("run", id), "joules", joules)
  end
  return "held"
end

-- Appends what the trainer printed.
-- ARGV: run, token, lines kept, lines. Reply: "held".
function operations.log(id, token, lines_kept, ...)
  if not holds(id, token) then
    return "stale"
  end
  for _, line in ipairs({ ... }) do
    redis.call("XADD", key("run", id, "log"), "MAXLEN", "~", lines_kept, "*", "text", line)
  end
  return "held"
end

-- Takes the runs of silent workers from them. Workers sweep every few seconds, so a long gap since the last sweep means
-- that the database was away, and with it the chance to renew: that time does not count. No lease gets longer than new.
-- ARGV: losses in a row that end a run, the longest gap in ms that is none, lease in ms. Reply: how many runs were taken.
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
