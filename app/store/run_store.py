"""Runs, experiments, epochs, logs and events in Redis: the single source of truth of API and workers.

Keys, all below one prefix:
`runs` (sorted set of ids by creation), `run:<id>` (hash), `run:<id>:epochs` (stream, entry `<epoch>-0`),
`run:<id>:log`, `:history`, `:lens` and `:confusion` (streams; the last holds the best epoch and the newest alone),
`run:<id>:control` (list the worker waits on), `queued` (sorted set: the queue), `shares` (hash: whose turn it is),
`paused`, `leases` (sorted set by expiry in ms), `swept_at`, `garbage` (set of deleted runs), `experiments`,
`experiment:<id>` (hash with counters), `experiment:<id>:runs`, `once:<key>` (answered idempotent request), `events`
(capped stream, for the live view), `workers`, `worker:<name>` (hash).

Writes that must be atomic are operations of `store.lua`.
"""

import hashlib
import json
import secrets
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from importlib.resources import files
from typing import Any, Literal, NoReturn, cast

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from app.errors import Conflict, LeaseLost, NotFound
from app.settings import Settings
from app.store.epoch_records import EpochRecords
from app.store.rows import Confusion, Experiment, HistoryEntry, LogLine, Run, State, Worker
from app.store.run_view import RunView
from cct.config import EpochRecord, RunSpec

LOG_LINES_KEPT = 5_000
MAX_LOSSES = 3
"""Times in a row a run may lose its worker without finishing an epoch."""
LONGEST_SWEEP_GAP_MS = 5_000
"""Workers sweep more often; after a longer gap the database was away, and leases are prolonged by it."""
ANSWERS_KEPT_MS = 24 * 3600 * 1000
"""How long an idempotency key is remembered."""
STREAMS = ("epochs", "log", "history", "lens", "confusion")
LEASE_FIELDS = ("token", "worker", "step", "steps", "epoch_seconds", "cancelling", "order", "tag")
COUNTERS = ("queued", "running", "completed", "failed", "cancelled", "epochs_done", "epochs_total", "seconds")

Scalar = str | int | float


def new_id() -> str:
    """48 random bits: unguessable enough to be unique, short enough to read aloud."""
    return secrets.token_hex(6)


class RunStore:
    """All reads and writes of the board's state. Safe to share between threads."""

    def __init__(self, settings: Settings, prefix: str = "cctboard:") -> None:
        self.redis = redis.Redis.from_url(
            str(settings.redis_url),
            decode_responses=True,
            socket_connect_timeout=3,
            socket_timeout=10,
            # Once, for a connection that a restart of the database closed; callers decide how long to wait for it.
            retry=Retry(NoBackoff(), 1),
        )
        self._prefix = prefix
        self._events_kept = settings.events_kept
        self._lease_ms = int(settings.lease_seconds * 1000)
        self._epochs = EpochRecords(self.redis)
        self._view = RunView(self.redis, self.key("events"), self._read_runs)
        self._script = self.redis.register_script(files("app.store").joinpath("store.lua").read_text(encoding="utf-8"))

    def key(self, *parts: str) -> str:
        return self._prefix + ":".join(parts)

    def _do(self, operation: str, *arguments: Scalar) -> Any:
        return self._script(keys=[self._prefix], args=[operation, self._events_kept, *arguments])

    # Creating

    def create_runs(self, specs: Iterable[RunSpec], priority: int = 0, once: str | None = None) -> list[Run]:
        """Queues one run per spec, in this order, all or none.

        `once` is an idempotency key: with a key that was used before, nothing is queued and the first runs are
        returned. Raises `Conflict` if its first request was another.
        """
        return self.runs_by_id(self._create(None, specs, priority, once))

    def create_experiment(
        self,
        name: str,
        spec: Mapping[str, Any],
        axes: Mapping[str, Sequence[Any]],
        specs: Iterable[RunSpec],
        priority: int = 0,
        once: str | None = None,
    ) -> Experiment:
        """Stores the experiment and queues its runs in this order, all or none; `once` as in `create_runs`."""
        fields = [
            "name",
            name,
            "spec",
            json.dumps(dict(spec)),
            "axes",
            json.dumps(dict(axes)),
            "priority",
            str(priority),
        ]
        [experiment_id] = self._create({"id": new_id(), "fields": fields, "is_new": True}, specs, priority, once)
        return self.experiment(experiment_id)

    def add_runs(
        self,
        experiment_id: str,
        spec: Mapping[str, Any],
        axes: Mapping[str, Sequence[Any]],
        specs: Iterable[RunSpec],
        once: str | None = None,
        request: Any = None,
    ) -> Experiment:
        """Queues more runs of an experiment at its priority; its base spec and axes become the given ones.

        `once` as in `create_runs`; `request` is what the user asked for, by which a repeated request is known: it would
        ask for other specs, as the experiment has grown. Raises `NotFound`.
        """
        fields = ["spec", json.dumps(dict(spec)), "axes", json.dumps(dict(axes))]
        self._create({"id": experiment_id, "fields": fields}, specs, 0, once, [experiment_id, request])
        return self.experiment(experiment_id)

    def _create(
        self,
        experiment: dict[str, Any] | None,
        specs: Iterable[RunSpec],
        priority: int,
        once: str | None,
        request: Any = None,
    ) -> list[str]:
        runs: list[dict[str, Any]] = [
            {"fields": ["spec", json.dumps(asdict(s)), "epochs", str(s.epochs), "priority", str(priority)]}
            for s in specs
        ]
        payload: dict[str, Any] = {"runs": runs}
        if once:
            what = json.dumps(request or [experiment and experiment["fields"], runs])
            digest, fingerprint = (hashlib.sha256(text.encode()).hexdigest() for text in (once, what))
            payload["once"] = {"key": digest, "fingerprint": fingerprint, "kept_ms": str(ANSWERS_KEPT_MS)}
        for run in runs:
            run["id"] = new_id()
        if experiment:
            payload["experiment"] = experiment
        outcome, *ids = self._do("create", json.dumps(payload))
        if outcome == "conflict":
            raise Conflict("this Idempotency-Key was used for another request; use a new one for each request")
        if outcome == "gone":
            raise NotFound("experiment", payload["experiment"]["id"])
        return cast(list[str], ids)

    # Reading

    def run(self, run_id: str) -> Run:
        """Raises `NotFound`."""
        return self.runs_by_id([run_id])[0]

    def runs_by_id(self, run_ids: Iterable[str]) -> list[Run]:
        """Raises `NotFound` for the first id that is not there."""
        run_ids = list(run_ids)
        for run_id, found in zip(run_ids, hashes := self._hashes("run", run_ids), strict=True):
            if not found:
                raise NotFound("run", run_id)
        return [Run.model_validate(found) for found in hashes]

    def _hashes(self, kind: str, ids: Iterable[str]) -> list[dict[str, str]]:
        with self.redis.pipeline(transaction=False) as pipeline:
            for one in ids:
                pipeline.hgetall(self.key(kind, one))
            return cast(list[dict[str, str]], pipeline.execute())

    def runs(self) -> list[Run]:
        """All runs, newest first."""
        return self._view.runs()[::-1]

    def _read_runs(self) -> list[Run]:
        run_ids = cast(list[str], self.redis.zrange(self.key("runs"), 0, -1))
        # Without those that were deleted since their ids were read.
        return [Run.model_validate(found) for found in self._hashes("run", run_ids) if found]

    def experiment(self, experiment_id: str) -> Experiment:
        """Raises `NotFound`."""
        [found] = self._hashes("experiment", [experiment_id])
        if not found:
            raise NotFound("experiment", experiment_id)
        return Experiment.model_validate(found)

    def experiments(self) -> list[Experiment]:
        """All experiments, newest first."""
        ids = cast(list[str], self.redis.zrange(self.key("experiments"), 0, -1, desc=True))
        return [Experiment.model_validate(found) for found in self._hashes("experiment", ids) if found]

    def experiment_runs(self, experiment_id: str) -> list[Run]:
        """The experiment's runs in the order of their creation. Raises `NotFound`."""
        self.experiment(experiment_id)
        return [run for run in self._view.runs() if run.experiment_id == experiment_id]

    def epochs(self, run_ids: Iterable[str]) -> list[list[EpochRecord]]:
        """The records of each run, by epoch."""
        return self._epochs.read([self.key("run", run_id, "epochs") for run_id in run_ids])

    def sparklines(self, runs: Iterable[Run], points: int) -> list[dict[int, float]]:
        """Validation top-1 by epoch at up to `points` epochs of each run, evenly spread from its first to its newest.

        Records are named by their epoch, so that the time this takes does not grow with the number of epochs.
        """
        wanted = [(run.id, _spread(run.epoch, points)) for run in runs]
        with self.redis.pipeline(transaction=False) as pipeline:
            for run_id, epochs in wanted:
                for epoch in epochs:
                    pipeline.xrange(self.key("run", run_id, "epochs"), min=f"{epoch}-0", max=f"{epoch}-0")
            found = iter(pipeline.execute())
        return [
            {epoch: json.loads(entries[0][1]["record"])["val_top1"] for epoch in epochs if (entries := next(found))}
            for _, epochs in wanted
        ]

    def log(self, run_id: str) -> list[LogLine]:
        """What the run's trainer printed, oldest first. Raises `NotFound`."""
        return [LogLine.model_validate(entry) for entry in self._stream(run_id, "log")]

    def history(self, run_id: str) -> list[HistoryEntry]:
        """The run's time line, oldest first. Raises `NotFound`."""
        return [HistoryEntry.model_validate(entry) for entry in self._stream(run_id, "history")]

    def _stream(self, run_id: str, part: str) -> list[dict[str, str]]:
        self.run(run_id)
        entries = cast(list[tuple[str, dict[str, str]]], self.redis.xrange(self.key("run", run_id, part)))
        return [{"at": entry_id.split("-")[0]} | entry for entry_id, entry in entries]

    def counts(self) -> Counter[str | None]:
        """Number of runs by state. One command instead of one per run; one deleted meanwhile has no state."""
        return Counter(
            cast(list[str | None], self.redis.sort(self.key("runs"), by="nosort", get=[self.key("run", "*->state")]))
        )

    def training(self) -> dict[str, EpochRecord | None]:
        """The ids of the running runs, and what their newest epochs measured."""
        run_ids = cast(list[str], self.redis.zrange(self.key("leases"), 0, -1))
        with self.redis.pipeline(transaction=False) as pipeline:
            for run_id in run_ids:
                pipeline.xrevrange(self.key("run", run_id, "epochs"), count=1)
            newest = pipeline.execute()
        records = [EpochRecord(**json.loads(entries[0][1]["record"])) if entries else None for entries in newest]
        return dict(zip(run_ids, records, strict=True))

    def looks(self, run_ids: Iterable[str]) -> list[list[dict[str, Any]]]:
        """What the pooling of each run looked at, by epoch: fields of `cct.lens.Look`."""
        with self.redis.pipeline(transaction=False) as pipeline:
            for run_id in run_ids:
                pipeline.xrange(self.key("run", run_id, "lens"))
            streams = pipeline.execute()
        return [[json.loads(entry["look"]) for _, entry in stream] for stream in streams]

    def confusions(self, run_ids: Iterable[str], epoch: Literal["last", "best"]) -> list[Confusion | None]:
        """Of each run the confusion matrix of its last or its best epoch, None before the first."""
        with self.redis.pipeline(transaction=False) as pipeline:
            for run_id in run_ids:
                read = pipeline.xrevrange if epoch == "last" else pipeline.xrange
                read(self.key("run", run_id, "confusion"), count=1)
            streams = pipeline.execute()
        return [
            Confusion.model_validate({"epoch": found[0][0].split("-")[0], **found[0][1]}) if found else None
            for found in streams
        ]

    def images(self, source: str) -> list[dict[str, Any]]:
        """The images that runs of this dataset (`RunSpec.source`) look at: fields of `cct.lens.Image`; empty before the
        first run."""
        return cast(list[dict[str, Any]], json.loads(cast(str, self.redis.get(self.key("images", source)) or "[]")))

    def set_images(self, source: str, images: Sequence[Mapping[str, Any]]) -> None:
        self.redis.set(self.key("images", source), json.dumps(list(images)))

    def tell(self, kind: str, data: Mapping[str, Any]) -> None:
        """Appends an event to those that all pages follow."""
        entry = {"kind": kind, "data": json.dumps(dict(data))}
        self.redis.xadd(self.key("events"), cast(Any, entry), maxlen=self._events_kept, approximate=True)

    # The queue

    def queued(self) -> int:
        """Number of runs that wait for a worker."""
        return int(self.redis.zcard(self.key("queued")))

    def queued_runs(self) -> list[Run]:
        """The queue, next run first."""
        members = cast(list[str], self.redis.zrange(self.key("queued"), 0, -1))
        runs = {run.id: run for run in self._view.runs()}
        ids = [member.partition(":")[2] for member in members]
        return [runs[run_id] for run_id in ids if run_id in runs]

    def paused(self) -> bool:
        return bool(self.redis.exists(self.key("paused")))

    def pause(self, paused: bool) -> None:
        """Pauses the queue: nothing is claimed until it goes on; what runs is not touched."""
        self._do("pause", int(paused))

    # What users do to runs

    def cancel(self, run_id: str) -> Run:
        """Cancels a queued run, tells the worker of a running one. Raises `NotFound`, `Conflict`."""
        run = self.run(run_id)
        if self._do("cancel", run_id) == "finished":
            raise Conflict(f"run {run_id} is already {run.state}; only a queued or running run can be cancelled")
        return self.run(run_id)

    def cancel_experiment(self, experiment_id: str) -> Experiment:
        """Cancels what is unfinished; a finished experiment stays as it is. Raises `NotFound`."""
        for run in reversed(self.experiment_runs(experiment_id)):  # so nobody moves up just to be cancelled
            if run.state in (State.queued, State.running):
                self._do("cancel", run.id)
        return self.experiment(experiment_id)

    def retry(self, run_id: str) -> Run:
        """Queues a failed or cancelled run again, to go on from its checkpoint. Raises `NotFound`, `Conflict`."""
        self.run(run_id)
        state = self._do("retry", run_id)
        if state != "retried":
            raise Conflict(f"run {run_id} is {state}; only a failed or cancelled run can be retried")
        return self.run(run_id)

    def retry_experiment(self, experiment_id: str) -> Experiment:
        """Queues the failed runs again. Raises `NotFound`."""
        for run in self.experiment_runs(experiment_id):
            if run.state is State.failed:
                self._do("retry", run.id)
        return self.experiment(experiment_id)

    def edit(self, run_id: str, changes: Mapping[str, Any]) -> Run:
        """Changes priority, note, tags or whether it is archived. Raises `NotFound`."""
        if changes:
            self._do("edit", run_id, *_flat(changes))
        return self.run(run_id)

    def edit_experiment(self, experiment_id: str, changes: Mapping[str, Any]) -> Experiment:
        """Changes name or note, and with `priority` that of its unfinished runs. Raises `NotFound`."""
        if changes:
            self._do("edit_experiment", experiment_id, *_flat(changes))
        if "priority" in changes:
            for run in self.experiment_runs(experiment_id):
                if run.state in (State.queued, State.running):
                    self._do("edit", run.id, "priority", changes["priority"])
        return self.experiment(experiment_id)

    def delete(self, run_id: str) -> None:
        """Forgets a run; its checkpoints are removed by a worker. Raises `NotFound`, `Conflict` while it runs."""
        self.run(run_id)
        if self._do("delete", run_id) == "running":
            _refuse_to_delete(f"run {run_id} is running")

    def delete_experiment(self, experiment_id: str) -> None:
        """Forgets an experiment with all its runs. Raises `NotFound`, `Conflict` while one is running."""
        self.experiment(experiment_id)
        if self._do("delete_experiment", experiment_id) == "running":
            _refuse_to_delete(f"experiment {experiment_id} has running runs")

    def garbage(self) -> list[str]:
        """Ids of deleted runs whose checkpoints are still there."""
        return sorted(cast(set[str], self.redis.smembers(self.key("garbage"))))

    def collected(self, run_id: str) -> None:
        """The deleted run's checkpoints are gone."""
        self.redis.srem(self.key("garbage"), run_id)

    # Backup

    def dump(self, kind: Literal["run", "experiment"], row_id: str) -> dict[str, Any]:
        """A row as `load` takes it: without lease, and an experiment without its counters."""
        with self.redis.pipeline(transaction=True) as pipeline:
            pipeline.hgetall(self.key(kind, row_id))
            for part in STREAMS:
                pipeline.xrange(self.key(kind, row_id, part))
            fields, *streams = pipeline.execute()
        passing = LEASE_FIELDS if kind == "run" else COUNTERS
        entries = [[[entry_id, *_flat(entry)] for entry_id, entry in stream] for stream in streams]
        kept = {name: value for name, value in fields.items() if name not in passing}
        return {"fields": kept, "streams": dict(zip(STREAMS, entries, strict=True))}

    def load(self, kind: str, row_id: str, dump: Mapping[str, Any]) -> str:
        """Returns "loaded", "known" if this very row is here already, or "taken" if another row has its id."""
        return cast(str, self._do("load", kind, row_id, json.dumps(dump)))

    # Training: every write carries the lease's token and raises `LeaseLost` when it is stale

    def claim(self, worker: str) -> "Lease | None":
        """The right to train the first run of the queue, or None if nothing is queued or the queue is paused."""
        token = secrets.token_hex(16)
        run_id = self._do("claim", worker, token, self._lease_ms)
        return Lease(self, run_id, token) if run_id else None

    def expire_leases(self) -> int:
        """Sends the runs of silent workers back to the queue; returns how many there were."""
        return int(self._do("expire_leases", MAX_LOSSES, LONGEST_SWEEP_GAP_MS, self._lease_ms))

    # Workers

    def heartbeat(self, worker: str, **facts: Scalar | None) -> None:
        """Keeps the worker on the board for three leases' time; `facts` are the other fields of `Worker`."""
        seconds, micros = self.redis.time()
        now = seconds * 1000 + micros // 1000
        key, seen_for = self.key("worker", worker), 3 * self._lease_ms
        fields = {"name": worker, "last_seen": now} | {name: v for name, v in facts.items() if v is not None}
        with self.redis.pipeline(transaction=True) as pipeline:
            pipeline.delete(key)
            pipeline.hset(key, mapping=cast(Any, fields))
            pipeline.pexpire(key, seen_for)
            pipeline.zadd(self.key("workers"), {worker: now + seen_for})
            pipeline.zremrangebyscore(self.key("workers"), "-inf", now)
            pipeline.execute()

    def forget_worker(self, worker: str) -> None:
        self.redis.delete(self.key("worker", worker))

    def workers(self) -> list[Worker]:
        """Workers seen lately, by name."""
        names = sorted(cast(list[str], self.redis.zrange(self.key("workers"), 0, -1)))
        return [Worker.model_validate(found) for found in self._hashes("worker", names) if found]


def _spread(last: int, points: int) -> list[int]:
    """Up to `points` numbers from 1 to `last`, about equally far apart."""
    count = min(last, points)
    return [1 + round(point * (last - 1) / max(1, count - 1)) for point in range(count)]


def _flat(changes: Mapping[str, Any]) -> list[Scalar]:
    """Field, value, field, value, ...; lists as JSON, truth values as 0 and 1."""

    def scalar(value: Any) -> Scalar:
        return json.dumps(value) if isinstance(value, list) else int(value) if isinstance(value, bool) else value

    return [part for name, value in changes.items() for part in (name, scalar(value))]


def _refuse_to_delete(what: str) -> NoReturn:
    raise Conflict(f"{what}; cancel first, then delete")


class Lease:
    """The right to train one run, proven by a token that every write carries."""

    def __init__(self, store: RunStore, run_id: str, token: str) -> None:
        self._store = store
        self.run_id = run_id
        self.token = token

    def _write(self, operation: str, *arguments: Scalar) -> str:
        reply = cast(str, self._store._do(operation, self.run_id, self.token, *arguments))
        if reply == "stale":
            raise LeaseLost(self.run_id)
        return reply

    def renew(self) -> None:
        self._write("renew", self._store._lease_ms)

    def describe(self, **fields: Scalar) -> None:
        """Writes fields of `Run` that tell how training goes: device, parameters, step, ..."""
        self._write("describe", *(part for item in fields.items() for part in item))

    def record_epoch(self, record: EpochRecord) -> bool:
        """Stores what an epoch measured; False, and nothing changes, if that epoch is already stored."""
        return self._write("record_epoch", record.epoch, json.dumps(asdict(record))) == "recorded"

    def record_look(self, epoch: int, look: Mapping[str, Any]) -> None:
        """Stores what the pooling looked at after an epoch; a repeat changes nothing."""
        self._write("record_look", epoch, json.dumps(dict(look)))

    def record_confusion(self, epoch: int, counts: Sequence[Sequence[int]]) -> None:
        """Stores how often images of a class (row) were taken for each class (column) after an epoch.

        Only the newest matrix and that of the best epoch are kept, without their zeros, so that they hold no more
        numbers than there are test images; a repeat changes nothing.
        """
        hits = sum(row[label] for label, row in enumerate(counts))
        without_zeros = [{column: count for column, count in enumerate(row) if count} for row in counts]
        self._write("record_confusion", epoch, hits, json.dumps(without_zeros, separators=(",", ":")))

    def log(self, lines: Sequence[str]) -> None:
        self._write("log", LOG_LINES_KEPT, *lines)

    def release(self, state: State, error: str = "") -> None:
        """Ends the lease: the run is finished, or `State.queued` for another worker to go on."""
        self._write("release", state, error)

    def lose(self, why: str) -> None:
        """Ends the lease because the trainer crashed: the run is queued again, or failed if that happens often."""
        self._write("lose", MAX_LOSSES, why)

    def cancel_requested(self, timeout: float) -> bool:
        """Waits up to `timeout` seconds for the user to cancel the run."""
        control = self._store.key("run", self.run_id, "control")
        return self._store.redis.blpop([control], timeout=timeout) is not None
