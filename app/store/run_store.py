"""Runs, experiments, epochs, logs and events in Redis: the single source of truth of API and workers.

Writes that must be atomic are operations of `app/store/lua`.
"""

import copy
import hashlib
import json
import secrets
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Literal, NoReturn, cast

from app.errors import Conflict, Invalid, NotFound
from app.limits import TAGS
from app.settings import Settings
from app.store.database import Database, Scalar
from app.store.fields import fields_of_run, flat
from app.store.lease import MAX_LOSSES, Lease
from app.store.plan import MOST_SEEDS, Plan, Planning, PlanState, Step
from app.store.rows import Experiment, Run, State
from app.store.run_reader import RunReader
from app.store.tuning import Tuning
from app.store.variants import Variant
from cct.spec import RunSpec

LONGEST_SWEEP_GAP_MS = 5_000
"""Workers sweep more often; after a longer gap the database was away, and leases are prolonged by it."""
ANSWERS_KEPT_MS = 24 * 3600 * 1000
"""How long an idempotency key is remembered."""
STREAMS = ("epochs", "log", "history", "lens", "confusion", "system")
LEASE_FIELDS = ("token", "worker", "step", "steps", "epoch_seconds", "cancelling", "cancelled_by", "order", "tag")
COUNTERS = ("queued", "running", "completed", "failed", "cancelled", "epochs_done", "epochs_total", "seconds")

Grown = tuple[Mapping[str, Any], Mapping[str, Sequence[Any]], Sequence[RunSpec]]
"""The new base spec and axes of an experiment, and the specs of the runs to add."""


def new_id() -> str:
    """48 random bits: unguessable enough to be unique, short enough to read aloud."""
    return secrets.token_hex(6)


def new_token() -> str:
    """A token that no other lease has."""
    return secrets.token_hex(16)


class RunStore(RunReader):
    """All reads and writes of the board's state. Safe to share between threads.

    `wake` is told how many runs have become ready to be claimed; without it workers find them at their next sweep.
    """

    def __init__(
        self, settings: Settings, wake: Callable[[int], object] = lambda runs: None, prefix: str = "cctboard:"
    ) -> None:
        self._database = Database(settings, prefix)
        super().__init__(self._database)
        self._do = self._database.do
        self._wake = wake
        self.author = ""
        """Who acts through it; empty: nobody has said."""

    def by(self, author: str) -> "RunStore":
        """This store for whoever has that name, which is kept with the runs they queue and the notes they write."""
        theirs = copy.copy(self)
        theirs.author = author
        return theirs

    # Creating

    def create_runs(self, specs: Iterable[RunSpec], priority: int = 0, once: str | None = None) -> list[Run]:
        """Queues one run per spec, in this order, all or none.

        `once` is an idempotency key: with a key that was used before, nothing is queued and the first runs are
        returned. Raises `Conflict` if its first request was another.
        """
        return self.runs_by_id(self._create(None, specs, priority, once) or [])

    def create_extension(self, run_id: str, spec: RunSpec, finished: Run, once: str | None = None) -> Run:
        """Queues a run of this id that goes on where a finished one ended, whose checkpoint it has; `once` as above."""
        ids = self._create(None, [spec], finished.priority, once, finished=finished, ids=[run_id]) or []
        return self.runs_by_id(ids)[0]

    def create_experiment(
        self,
        name: str,
        spec: Mapping[str, Any],
        axes: Mapping[str, Sequence[Any]],
        specs: Iterable[RunSpec],
        priority: int = 0,
        once: str | None = None,
        *,
        variants: Sequence[Variant] = (),
        plan: tuple[Plan, Planning] | None = None,
        tune: Tuning | None = None,
        linked: Mapping[str, str] | None = None,
    ) -> Experiment:
        """Stores the experiment and queues its runs in this order, all or none; `once` as in `create_runs`.

        With a plan or a search, others of its runs are queued by whoever calls `advance_plan`; `linked` names another
        experiment as what it `follows`, `confirms` or is `tuned_by`.
        """
        given = {"spec": json.dumps(dict(spec)), "axes": json.dumps(dict(axes)), "priority": str(priority)}
        fields = ["name", name, *flat(given), *flat(linked or {})]
        if variants:
            fields += ["variants", json.dumps([one.model_dump() for one in variants])]
        change: dict[str, Any] = {"id": new_id(), "fields": fields, "is_new": True}
        if plan:
            declared, planning = plan
            fields += ["plan", declared.model_dump_json(), "planning", planning.model_dump_json()]
            fields += ["max_seeds", str(declared.max_seeds)]
            change["plan_state"] = "open"
        if tune:
            fields += ["tune", tune.model_dump_json()]
            change["plan_state"] = "open"
        [experiment_id] = self._create(change, specs, priority, once, variants=variants, trials=tune is not None) or []
        return self.experiment(experiment_id)

    def add_runs(
        self,
        experiment_id: str,
        grow: Callable[[Experiment, Sequence[Run]], Grown],
        once: str | None = None,
        request: Any = None,
    ) -> Experiment:
        """Queues more runs of an experiment at its priority: what `grow` makes of the experiment and its runs.

        `grow` is asked again if somebody else has added to the experiment meanwhile. `once` as in `create_runs`;
        `request` is what the user asked for, by which a repeated request is known: it would ask for other specs, as
        the experiment has grown. Raises `NotFound`.
        """
        while True:
            experiment = self.experiment(experiment_id)
            runs = self.experiment_runs(experiment_id)
            spec, axes, specs = grow(experiment, runs)
            fields = ["spec", json.dumps(dict(spec)), "axes", json.dumps(dict(axes))]
            was = {"spec": json.dumps(experiment.spec), "axes": json.dumps(experiment.axes)}
            has_more_seeds = {new.seed for new in specs} - {run.spec.seed for run in runs}
            if has_more_seeds and any(run.state is State.completed for run in runs):
                fields += ["exploratory", "1"]
            change = {"id": experiment_id, "fields": fields, "was": was}
            request_of = [experiment_id, request]
            if self._create(change, specs, 0, once, request_of, variants=experiment.variants) is not None:
                return self.experiment(experiment_id)

    def advance_plan(self, experiment_id: str, decide: Callable[[Experiment, Sequence[Run]], Step | None]) -> None:
        """Does what `decide` makes of an experiment with a plan and of its runs, all or none; None: nothing.

        It is asked again if meanwhile a run has ended or somebody has changed the plan, so whatever is decided at the
        same time by several processes is decided once. Raises `NotFound`.
        """
        while True:
            experiment = self.experiment(experiment_id)
            step = decide(experiment, self.experiment_runs(experiment_id))
            if step is None:
                return
            planning = ["planning", step.planning.model_dump_json()] if step.planning else []
            change = {
                "id": experiment_id,
                "fields": planning,
                "was": {"plan_changes": str(experiment.plan_changes), "plan_state": experiment.plan_state},
                "plan_state": step.state,
            }
            is_search = experiment.tune is not None
            asker = self.by(experiment.author)
            if asker._create(change, step.specs, 0, None, variants=experiment.variants, trials=is_search) is None:
                continue
            for run_id in step.hopeless:
                self._do("stop_trial", run_id)
            for run_id in step.unneeded:
                self._do("cancel_queued", run_id)
            self._wake([self._do("retry_by_plan", run_id) for run_id in step.again].count("retried"))
            return

    def raise_budget(self, experiment_id: str, max_seeds: int) -> Experiment:
        """Lets an experiment's plan take more seeds. Raises `NotFound`, `Conflict` if it may already."""
        self.experiment(experiment_id)
        allowed = self._do("raise_budget", experiment_id, max_seeds)
        if allowed != "raised":
            raise Conflict(f"plan.max_seeds is {allowed} already and can only be raised, to {MOST_SEEDS} at most")
        return self.experiment(experiment_id)

    def has_arrived(self, experiment_id: str, state: PlanState) -> None:
        """All runs of an experiment with a plan have come out of an archive."""
        self._do("turn_plan", experiment_id, "arriving", state)

    def _create(
        self,
        experiment: dict[str, Any] | None,
        specs: Iterable[RunSpec],
        priority: int,
        once: str | None,
        request: Any = None,
        finished: Run | None = None,
        ids: Sequence[str] = (),
        variants: Sequence[Variant] = (),
        trials: bool = False,
    ) -> list[str] | None:
        """The new ids, or those of the first time; None if the experiment is not what it was.

        The runs go on where a `finished` one ended, and have these `ids`, if they are given.
        """
        specs = list(specs)
        self.poolings.keep(specs)
        runs: list[dict[str, Any]] = [
            {"fields": [*flat(fields_of_run(spec, finished, variants, trials)), "priority", str(priority)]}
            for spec in specs
        ]
        payload: dict[str, Any] = {"runs": runs, "author": self.author}
        if once:
            what = json.dumps(request or [experiment and experiment["fields"], runs])
            digest, fingerprint = (hashlib.sha256(text.encode()).hexdigest() for text in (once, what))
            payload["once"] = {"key": digest, "fingerprint": fingerprint, "kept_ms": str(ANSWERS_KEPT_MS)}
        for run, run_id in zip(runs, ids or [new_id() for _ in runs], strict=True):
            run["id"] = run_id
        if experiment:
            payload["experiment"] = experiment
        outcome, *created = self._do("create", json.dumps(payload))
        if outcome == "conflict":
            raise Conflict("this Idempotency-Key was used for another request; use a new one for each request")
        if outcome == "gone":
            raise NotFound("experiment", payload["experiment"]["id"])
        if outcome == "changed":
            return None
        if outcome == "created":
            self._wake(len(runs))
        return cast(list[str], created)

    def set_images(self, source: str, images: Sequence[Mapping[str, Any]]) -> None:
        self.redis.set(self.key("images", source), json.dumps(list(images)))

    def tell(self, kind: str, data: Mapping[str, Any]) -> None:
        """Appends an event to those that all pages follow."""
        entry = {"kind": kind, "data": json.dumps(dict(data))}
        self.redis.xadd(self.key("events"), cast(Any, entry), maxlen=self._database.events_kept, approximate=True)

    # The queue

    def pause(self, paused: bool) -> None:
        """Pauses the queue: nothing is claimed until it goes on; what runs is not touched."""
        self._do("pause", int(paused))
        if not paused:
            self._wake(self.queued())

    # What users do to runs

    def cancel(self, run_id: str) -> Run:
        """Cancels a queued run, tells the worker of a running one. Raises `NotFound`, `Conflict`."""
        run = self.run(run_id)
        if self._do("cancel", run_id, self.author) == "finished":
            raise Conflict(f"run {run_id} is already {run.state}; only a queued or running run can be cancelled")
        return self.run(run_id)

    def cancel_experiment(self, experiment_id: str) -> Experiment:
        """Ends its plan and cancels what is unfinished; a finished experiment stays as it is. Raises `NotFound`."""
        self._do("turn_plan", experiment_id, "open", "cancelled")
        for run in reversed(self.experiment_runs(experiment_id)):  # so nobody moves up just to be cancelled
            if run.state in (State.queued, State.running):
                self._do("cancel", run.id, self.author)
        return self.experiment(experiment_id)

    def retry(self, run_id: str) -> Run:
        """Queues a failed or cancelled run again, to go on from its checkpoint. Raises `NotFound`, `Conflict`."""
        self.run(run_id)
        state = self._do("retry", run_id, self.author)
        if state != "retried":
            raise Conflict(f"run {run_id} is {state}; only a failed or cancelled run can be retried")
        self._wake(1)
        return self.run(run_id)

    def retry_experiment(self, experiment_id: str) -> Experiment:
        """Queues the failed runs again; with a plan, which then goes on, also those that were cancelled, but none that
        diverged: they have their result. Raises `NotFound`."""
        has_plan = self.experiment(experiment_id).plan is not None
        again = (State.failed, State.cancelled) if has_plan else (State.failed,)
        ended = [run for run in self.experiment_runs(experiment_id) if run.state in again]
        ended = [run for run in ended if not (has_plan and run.failure == "diverged")]
        self._wake([self._do("retry", run.id, self.author) for run in ended].count("retried"))
        self._do("turn_plan", experiment_id, "cancelled", "open")
        return self.experiment(experiment_id)

    def edit(self, run_id: str, changes: Mapping[str, Any]) -> Run:
        """Changes priority, note, tags or whether it is archived. Raises `NotFound`."""
        if changes:
            self._do("edit", run_id, *flat(self._signed(changes)))
        return self.run(run_id)

    def edit_tags(self, run_id: str, add: Sequence[str], remove: Sequence[str]) -> Run:
        """Adds and removes tags, whatever others do to them meanwhile. Raises `NotFound`, `Invalid`."""
        if self._do("edit_tags", run_id, json.dumps(list(add)), json.dumps(list(remove)), TAGS) == "too many":
            raise Invalid("add_tags", f"a run has at most {TAGS} tags; remove some first")
        return self.run(run_id)

    def edit_experiment(self, experiment_id: str, changes: Mapping[str, Any]) -> Experiment:
        """Changes name or note, and with `priority` that of its unfinished runs. Raises `NotFound`."""
        if changes:
            self._do("edit_experiment", experiment_id, *flat(self._signed(changes)))
        if "priority" in changes:
            for run in self.experiment_runs(experiment_id):
                if run.state in (State.queued, State.running):
                    self._do("edit", run.id, "priority", changes["priority"])
        return self.experiment(experiment_id)

    def _signed(self, changes: Mapping[str, Any]) -> Mapping[str, Any]:
        return {**changes, "noted_by": self.author} if "note" in changes else changes

    def delete(self, run_id: str) -> None:
        """Forgets a run; its checkpoints are removed by a worker. Raises `NotFound`, `Conflict` while it runs."""
        outcome = self._do("delete", run_id)  # without reading the row: a damaged one can be deleted too
        if outcome is None:
            raise NotFound("run", run_id)
        if outcome == "running":
            _refuse_to_delete(f"run {run_id} is running")

    def delete_experiment(self, experiment_id: str) -> None:
        """Forgets an experiment with all its runs. Raises `NotFound`, `Conflict` while one is running."""
        self.experiment(experiment_id)
        if self._do("delete_experiment", experiment_id) == "running":
            _refuse_to_delete(f"experiment {experiment_id} has running runs")

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
        entries = [[[entry_id, *flat(entry)] for entry_id, entry in stream] for stream in streams]
        kept = {name: value for name, value in fields.items() if name not in passing}
        return {"fields": kept, "streams": dict(zip(STREAMS, entries, strict=True))}

    def load(self, kind: str, row_id: str, dump: Mapping[str, Any]) -> str:
        """Returns "loaded", "known" if this very row is here already, or "taken" if another row has its id."""
        return cast(str, self._do("load", kind, row_id, json.dumps(dump)))

    # Training: every write carries the lease's token and raises `LeaseLost` when it is stale

    def claim(self, worker: str, token: str | None = None) -> Lease | None:
        """The right to train the first run of the queue, or None if nothing is queued or the queue is paused.

        With a token of the caller's own a claim can be repeated if its reply was lost: it gets the same run.
        """
        token = token or new_token()
        run_id = self._do("claim", worker, token, self._database.lease_ms)
        return self.lease(run_id, token) if run_id else None

    def lease(self, run_id: str, token: str) -> Lease:
        """The lease that was claimed with this token, perhaps by another process."""
        return Lease(self._database, run_id, token)

    def expire_leases(self) -> int:
        """Sends the runs of silent workers back to the queue; returns how many there were."""
        return int(self._do("expire_leases", MAX_LOSSES, LONGEST_SWEEP_GAP_MS, self._database.lease_ms))

    # Workers

    def heartbeat(self, worker: str, **facts: Scalar | None) -> None:
        """Keeps the worker on the board for three leases' time; `facts` are the other fields of `Worker`."""
        seconds, micros = self.redis.time()
        now = seconds * 1000 + micros // 1000
        key, seen_for = self.key("worker", worker), 3 * self._database.lease_ms
        fields = {"name": worker, "last_seen": now} | {name: v for name, v in facts.items() if v is not None}
        with self.redis.pipeline(transaction=True) as pipeline:
            pipeline.delete(key)
            pipeline.hset(key, mapping=cast(Any, fields))
            pipeline.pexpire(key, seen_for)
            pipeline.zadd(self.key("workers"), {worker: now + seen_for})
            pipeline.zremrangebyscore(self.key("workers"), "-inf", now)
            pipeline.execute()

    def check_writable(self) -> None:
        """Raises redis-py's error if the database does not answer, or answers but takes nothing more."""
        self.redis.set(self.key("probe"), 1)

    def forget_worker(self, worker: str) -> None:
        self.redis.delete(self.key("worker", worker))


def _refuse_to_delete(what: str) -> NoReturn:
    raise Conflict(f"{what}; cancel first, then delete")
