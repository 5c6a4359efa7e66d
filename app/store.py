"""Runs, experiments, epochs, logs and events in Redis: the single source of truth of API and workers.

Keys, all below one prefix:
`runs` (sorted set of ids by creation), `run:<id>` (hash), `run:<id>:epochs` (stream, entry `<epoch>-0`),
`run:<id>:log` (stream), `run:<id>:control` (list the worker waits on), `queued` (sorted set: the queue),
`leases` (sorted set by expiry in ms), `experiments`, `experiment:<id>` (hash with counters),
`experiment:<id>:runs`, `events` (capped stream for the live view), `workers`, `worker:<name>` (hash with expiry).

Writes that must be atomic are operations of `store.lua`.
"""

import json
import secrets
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from enum import StrEnum
from importlib.resources import files
from typing import Annotated, Any, cast

import redis
from pydantic import BaseModel, BeforeValidator, ConfigDict, computed_field

from app.errors import AlreadyFinished, LeaseLost, NotFound
from app.settings import Settings
from cct.config import EpochRecord, RunSpec

LOG_LINES_KEPT = 5_000
MAX_LOSSES = 3
"""Times in a row a run may lose its worker without finishing an epoch."""

Scalar = str | int | float


class State(StrEnum):
    queued = "queued"
    running = "running"
    completed = "completed"
    failed = "failed"
    cancelled = "cancelled"


def _from_json(value: Any) -> Any:
    return json.loads(value) if isinstance(value, str) else value


Time = Annotated[
    datetime, BeforeValidator(lambda v: datetime.fromtimestamp(int(v) / 1000, UTC) if str(v).isdigit() else v)
]


class Stored(BaseModel):
    """A row of the store: parsed from a Redis hash, served by the API as it is."""

    model_config = ConfigDict(frozen=True, use_attribute_docstrings=True, extra="ignore")


class Run(Stored):
    """One training of one model with one seed."""

    id: str
    experiment_id: str | None = None
    spec: Annotated[RunSpec, BeforeValidator(lambda value: RunSpec.stored(_from_json(value)))]
    state: State
    created_at: Time
    started_at: Time | None = None
    finished_at: Time | None = None
    attempt: int = 0
    """How often a worker has begun or resumed this run."""
    epoch: int = 0
    """Finished epochs."""
    step: int = 0
    """Finished steps of the epoch that is being trained."""
    steps: int = 0
    """Steps of an epoch; 0 while none is being trained."""
    epoch_seconds: float = 0
    """Seconds since the epoch that is being trained began."""
    best_top1: float | None = None
    """Highest validation top-1 of any epoch, in percent."""
    final_top1: float | None = None
    """Validation top-1 of the newest epoch, in percent."""
    seconds: float = 0
    """Time spent on finished epochs."""
    images_per_second: float | None = None
    parameters: int | None = None
    mixes_batch: bool | None = None
    """Whether the output for an image depends on its batch-mates; null until probed."""
    device: str | None = None
    worker: str | None = None
    cancelling: bool = False
    """Cancellation was asked for; the worker stops after its current step."""
    error: str | None = None
    """Why the run failed."""

    @computed_field(description="Seconds until the run ends, while it runs; null when unknown.")
    def eta_seconds(self) -> float | None:
        if self.state is not State.running:
            return None
        within = self.step / self.steps if self.steps else 0.0
        if self.epoch:
            per_epoch = self.seconds / self.epoch
        elif within:
            per_epoch = self.epoch_seconds / within
        else:
            return None
        return per_epoch * (self.spec.epochs - self.epoch - within)


class Experiment(Stored):
    """A named set of runs: a base spec times the values of its axes."""

    id: str
    name: str
    created_at: Time
    spec: Annotated[dict[str, Any], BeforeValidator(_from_json)]
    """The base spec as it was given."""
    axes: Annotated[dict[str, list[Any]], BeforeValidator(_from_json)]
    queued: int = 0
    running: int = 0
    completed: int = 0
    failed: int = 0
    cancelled: int = 0
    epochs_done: int = 0
    epochs_total: int = 0
    """Epochs of all runs, without those that failed or cancelled runs will never reach."""
    seconds: float = 0
    """Time spent on all finished epochs."""

    @computed_field
    def runs(self) -> int:
        return self.queued + self.running + self.completed + self.failed + self.cancelled

    @computed_field(description="Share of the epochs that are done, 0 to 1.")
    def progress(self) -> float:
        return self.epochs_done / self.epochs_total if self.epochs_total else 1.0

    @computed_field(description="Seconds until the last run ends with as many workers as now; null when unknown.")
    def eta_seconds(self) -> float | None:
        if not self.epochs_done or not self.running:
            return None
        left = self.epochs_total - self.epochs_done
        return left * self.seconds / self.epochs_done / self.running


class Worker(Stored):
    """A process that trains one run at a time on one device."""

    name: str
    device: str
    version: str
    run_id: str | None = None
    last_seen: Time


class LogLine(Stored):
    at: Time
    text: str


def new_id() -> str:
    """48 random bits: unguessable enough to be unique, short enough to read aloud."""
    return secrets.token_hex(6)


class RunStore:
    """All reads and writes of the board's state. Safe to share between threads."""

    def __init__(self, settings: Settings, prefix: str = "cctboard:") -> None:
        self.redis = redis.Redis.from_url(str(settings.redis_url), decode_responses=True)
        self._prefix = prefix
        self._events_kept = settings.events_kept
        self._lease_ms = int(settings.lease_seconds * 1000)
        self._script = self.redis.register_script(files("app").joinpath("store.lua").read_text(encoding="utf-8"))

    def key(self, *parts: str) -> str:
        return self._prefix + ":".join(parts)

    def _do(self, operation: str, *arguments: Scalar, client: Any = None) -> Any:
        return self._script(keys=[self._prefix], args=[operation, self._events_kept, *arguments], client=client)

    # Creating

    def create_runs(self, specs: Iterable[RunSpec]) -> list[Run]:
        """Queues one run per spec, in this order, all or none."""
        ids = self._create(None, specs)
        return self.runs_by_id(ids)

    def create_experiment(
        self, name: str, spec: Mapping[str, Any], axes: Mapping[str, Sequence[Any]], specs: Iterable[RunSpec]
    ) -> Experiment:
        """Stores the experiment and queues its runs in this order, all or none."""
        experiment_id = new_id()
        fields = ("name", name, "spec", json.dumps(dict(spec)), "axes", json.dumps(dict(axes)))
        self._create((experiment_id, fields), specs)
        return self.experiment(experiment_id)

    def _create(self, experiment: tuple[str, tuple[str, ...]] | None, specs: Iterable[RunSpec]) -> list[str]:
        with self.redis.pipeline(transaction=True) as pipeline:
            if experiment:
                self._do("create_experiment", experiment[0], *experiment[1], client=pipeline)
            ids = []
            for spec in specs:
                ids.append(new_id())
                fields: list[Scalar] = ["spec", json.dumps(asdict(spec)), "epochs", spec.epochs, "epoch", 0]
                if experiment:
                    fields += ["experiment_id", experiment[0]]
                self._do("create_run", ids[-1], *fields, client=pipeline)
            if experiment:
                self._do("announce_experiment", experiment[0], client=pipeline)
            pipeline.execute()
        return ids

    # Reading

    def run(self, run_id: str) -> Run:
        """Raises `NotFound`."""
        found = cast(dict[str, str], self.redis.hgetall(self.key("run", run_id)))
        if not found:
            raise NotFound("run", run_id)
        return Run.model_validate(found)

    def runs_by_id(self, run_ids: Iterable[str]) -> list[Run]:
        """Raises `NotFound` for the first id that is not there."""
        run_ids = list(run_ids)
        with self.redis.pipeline(transaction=False) as pipeline:
            for run_id in run_ids:
                pipeline.hgetall(self.key("run", run_id))
            hashes = pipeline.execute()
        for run_id, found in zip(run_ids, hashes, strict=True):
            if not found:
                raise NotFound("run", run_id)
        return [Run.model_validate(found) for found in hashes]

    def runs(self) -> list[Run]:
        """All runs, newest first."""
        return self.runs_by_id(cast(list[str], self.redis.zrange(self.key("runs"), 0, -1, desc=True)))

    def experiment(self, experiment_id: str) -> Experiment:
        """Raises `NotFound`."""
        found = cast(dict[str, str], self.redis.hgetall(self.key("experiment", experiment_id)))
        if not found:
            raise NotFound("experiment", experiment_id)
        return Experiment.model_validate(found)

    def experiments(self) -> list[Experiment]:
        """All experiments, newest first."""
        ids = cast(list[str], self.redis.zrange(self.key("experiments"), 0, -1, desc=True))
        return [self.experiment(experiment_id) for experiment_id in ids]

    def experiment_runs(self, experiment_id: str) -> list[Run]:
        """The experiment's runs in the order of the queue. Raises `NotFound`."""
        self.experiment(experiment_id)
        return self.runs_by_id(cast(list[str], self.redis.zrange(self.key("experiment", experiment_id, "runs"), 0, -1)))

    def epochs(self, run_ids: Iterable[str]) -> list[list[EpochRecord]]:
        """The records of each run, by epoch."""
        with self.redis.pipeline(transaction=False) as pipeline:
            for run_id in run_ids:
                pipeline.xrange(self.key("run", run_id, "epochs"))
            streams = pipeline.execute()
        return [[EpochRecord(**json.loads(entry["record"])) for _, entry in stream] for stream in streams]

    def log(self, run_id: str) -> list[LogLine]:
        """What the run's trainer printed, oldest first. Raises `NotFound`."""
        self.run(run_id)
        entries = cast(list[tuple[str, dict[str, str]]], self.redis.xrange(self.key("run", run_id, "log")))
        return [
            LogLine.model_validate({"at": entry_id.split("-")[0], "text": entry["text"]}) for entry_id, entry in entries
        ]

    # The queue

    def queued(self) -> int:
        """Number of runs that wait for a worker."""
        return int(self.redis.zcard(self.key("queued")))

    def cancel(self, run_id: str) -> Run:
        """Cancels a queued run, tells the worker of a running one. Raises `NotFound`, `AlreadyFinished`."""
        run = self.run(run_id)
        if self._do("cancel", run_id) == "finished":
            raise AlreadyFinished(f"run {run_id} is already {run.state}; only a queued or running run can be cancelled")
        return self.run(run_id)

    def cancel_experiment(self, experiment_id: str) -> Experiment:
        """Cancels what is unfinished; a finished experiment stays as it is. Raises `NotFound`."""
        for run in self.experiment_runs(experiment_id):
            if run.state in (State.queued, State.running):
                self._do("cancel", run.id)
        return self.experiment(experiment_id)

    def expire_leases(self) -> int:
        """Sends the runs of silent workers back to the queue; returns how many there were."""
        return int(self._do("expire_leases", MAX_LOSSES))

    # Training: every write carries the lease's token and raises `LeaseLost` when it is stale

    def claim(self, worker: str) -> "Lease | None":
        """The right to train the first run of the queue, or None if nothing is queued."""
        token = secrets.token_hex(16)
        run_id = self._do("claim", worker, token, self._lease_ms)
        return Lease(self, run_id, token) if run_id else None

    # Workers

    def heartbeat(self, worker: str, device: str, version: str, run_id: str | None) -> None:
        """Keeps the worker on the board for three leases' time."""
        now = self._now_ms()
        key, seen_for = self.key("worker", worker), 3 * self._lease_ms
        fields: dict[str, Scalar] = {"name": worker, "device": device, "version": version, "last_seen": now}
        with self.redis.pipeline(transaction=True) as pipeline:
            pipeline.delete(key)
            pipeline.hset(key, mapping=cast(Any, fields | ({"run_id": run_id} if run_id else {})))
            pipeline.pexpire(key, seen_for)
            pipeline.zadd(self.key("workers"), {worker: now + seen_for})
            pipeline.zremrangebyscore(self.key("workers"), "-inf", now)
            pipeline.execute()

    def forget_worker(self, worker: str) -> None:
        self.redis.delete(self.key("worker", worker))

    def workers(self) -> list[Worker]:
        """Workers seen lately, by name."""
        names = sorted(cast(list[str], self.redis.zrange(self.key("workers"), 0, -1)))
        found = [cast(dict[str, str], self.redis.hgetall(self.key("worker", name))) for name in names]
        return [Worker.model_validate(worker) for worker in found if worker]

    def _now_ms(self) -> int:
        seconds, micros = self.redis.time()
        return seconds * 1000 + micros // 1000


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

    def log(self, lines: Sequence[str]) -> None:
        self._write("log", LOG_LINES_KEPT, *lines)

    def release(self, state: State, error: str = "") -> None:
        """Ends the lease: the run is finished, or `State.queued` for another worker to go on."""
        self._write("release", state, error)

    def cancel_requested(self, timeout: float) -> bool:
        """Waits up to `timeout` seconds for the user to cancel the run."""
        control = self._store.key("run", self.run_id, "control")
        return self._store.redis.blpop([control], timeout=timeout) is not None
