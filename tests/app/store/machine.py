"""What can happen to the run store, done to the store and to a model of it, and what must hold whenever it has."""

import json
import time
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from app.errors import Conflict, LeaseLost, NotFound
from app.store.lease import MAX_LOSSES, Lease
from app.store.plan import PlanState
from app.store.rows import Experiment, Run, State
from app.store.run_store import RunStore
from tests.app.store.model import ModelPlan, ModelQueue, ModelRun
from tests.app.store.test_store import RECORD, SPEC
from tests.conftest import stored_events

UNFINISHED = (State.queued, State.running)
ENDED_EARLY = (State.failed, State.cancelled)


PICK = st.integers(0, 30)
PRIORITY = st.sampled_from([0, 0, 0, -1, 5])
KEY = st.sampled_from([None, None, "a", "b"])
DAY = st.tuples(
    st.sampled_from([0, 0, 1, 2]),
    st.booleans(),
    st.sampled_from([None, State.completed, State.failed, State.cancelled, State.queued, "crash", "crash", "crash"]),
)
"""What a worker does: epochs, whether it reports the last one again, and how its evening ends."""


class StoreMachine(RuleBasedStateMachine):
    """Rules are what can happen to the store; each does the same to the model."""

    def __init__(self, store: RunStore) -> None:
        super().__init__()
        self.store = store
        store.redis.flushdb()
        self.runs: dict[str, ModelRun] = {}
        self.experiments: dict[str, int] = {}
        """And their priorities."""
        self.plans: dict[str, ModelPlan] = {}
        """Of the experiments that have one."""
        self.queue = ModelQueue()
        self.paused = False
        self.answered: dict[str, tuple[Any, list[str]]] = {}
        self.stale: list[Lease] = []
        self.garbage: set[str] = set()
        self.arrivals = 0

    # Helpers: the model's part of what happens

    def pick(self, pick: int, *states: State) -> ModelRun:
        candidates = [run for run in self.runs.values() if not states or run.state in states]
        return candidates[pick % len(candidates)]

    def pick_experiment(self, pick: int) -> str:
        return list(self.experiments)[pick % len(self.experiments)]

    def having(self, *states: State) -> bool:
        return any(run.state in states for run in self.runs.values())

    def members(self, experiment: str) -> list[ModelRun]:
        return [run for run in self.runs.values() if run.experiment == experiment]

    def arrive(self, created: Iterable[Run], experiment: str | None, priority: int) -> None:
        for run in created:
            assert run.id not in self.runs
            self.arrivals += 1
            self.runs[run.id] = ModelRun(run.id, self.arrivals, experiment, run.spec.epochs, priority)
            self.queue.join(self.runs[run.id])

    def end_lease(self, run: ModelRun, state: State) -> None:
        assert run.lease is not None
        self.stale.append(run.lease)
        run.state = State.cancelled if state is State.queued and run.cancelling else state
        run.lease, run.cancelling = None, False
        if run.state is State.queued:
            self.queue.give_back(run)

    def lost(self, run: ModelRun) -> None:
        run.losses += 1
        failed = run.losses >= MAX_LOSSES and not run.cancelling
        self.end_lease(run, State.failed if failed else State.queued)

    def cancelled(self, run: ModelRun) -> None:
        if run.state is State.running:
            run.cancelling = True
        else:
            self.queue.leave(run)
            run.state = State.cancelled

    def queued_again(self, run: ModelRun) -> None:
        run.state, run.losses, run.unneeded = State.queued, 0, False
        self.queue.join(run)

    def retried(self, run: ModelRun) -> None:
        run.retries = 0
        self.queued_again(run)
        self.turn_plan(run.experiment, "cancelled", "open")

    def turn_plan(self, experiment: str | None, before: PlanState, after: PlanState) -> None:
        plan = self.plans.get(experiment or "")
        if plan and plan.state == before:
            plan.state = after

    def prioritised(self, run: ModelRun, priority: int) -> None:
        changed, run.priority = run.priority != priority, priority
        if changed and run.state is State.queued:
            self.queue.leave(run)
            self.queue.join(run)

    def deleted(self, run: ModelRun) -> None:
        del self.runs[run.id]
        if run.experiment in self.plans:
            self.plans[run.experiment].deleted += 1
        self.queue.leave(run)
        self.garbage.add(run.id)

    # What users do

    @initialize()
    def some_work(self) -> None:
        self.create(True, 3, 2, 0, None)
        self.create(False, 2, 3, 0, None)

    @rule(experiment=st.booleans(), count=st.integers(1, 4), epochs=st.integers(1, 3), priority=PRIORITY, key=KEY)
    def create(self, experiment: bool, count: int, epochs: int, priority: int, key: str | None) -> None:
        specs = [replace(SPEC, epochs=epochs, seed=seed) for seed in range(count)]

        def send() -> list[str]:
            if experiment:
                return [self.store.create_experiment("E", {}, {}, specs, priority, key).id]
            return [run.id for run in self.store.create_runs(specs, priority, key)]

        request = (experiment, specs, priority)
        first = self.answered.get(key or "")
        if first and first[0] != request:
            with pytest.raises(Conflict, match="Idempotency-Key"):
                send()
        elif first and not all(known in self.runs or known in self.experiments for known in first[1]):
            with pytest.raises(NotFound):
                send()
        elif first:
            assert send() == first[1]
        else:
            ids = send()
            if key:
                self.answered[key] = (request, ids)
            if experiment:
                self.experiments[ids[0]] = priority
                self.arrive(self.store.experiment_runs(ids[0]), ids[0], priority)
            else:
                self.arrive(self.store.runs_by_id(ids), None, priority)

    @precondition(lambda self: self.experiments)
    @rule(pick=PICK, count=st.integers(0, 2), epochs=st.integers(1, 3), key=KEY)
    def add_runs(self, pick: int, count: int, epochs: int, key: str | None) -> None:
        experiment = self.pick_experiment(pick)
        specs = [replace(SPEC, epochs=epochs, seed=100 + seed) for seed in range(count)]
        before = len(self.members(experiment))
        request = (experiment, count, epochs)
        first = self.answered.get(key or "", (request, []))
        if first[0] != request:
            with pytest.raises(Conflict, match="Idempotency-Key"):
                self.store.add_runs(experiment, lambda *_: ({}, {}, specs), key, request)
            return
        self.store.add_runs(experiment, lambda *_: ({}, {}, specs), key, request)
        if key and key in self.answered:
            assert len(self.store.experiment_runs(experiment)) == before
            return
        if key:
            self.answered[key] = (request, [experiment])
        self.arrive(self.store.experiment_runs(experiment)[before:], experiment, self.experiments[experiment])

    @precondition(lambda self: self.runs)
    @rule(pick=PICK, act=st.sampled_from(["cancel", "retry", "delete", 0, 5]))
    def act_on_a_run(self, pick: int, act: str | int) -> None:
        run = self.pick(pick)
        if isinstance(act, int):
            self.store.edit(run.id, {"priority": act})
            self.prioritised(run, act)
            return
        do, done, states, refusal = {
            "cancel": (self.store.cancel, self.cancelled, UNFINISHED, f"already {run.state}"),
            "retry": (self.store.retry, self.retried, ENDED_EARLY, f"is {run.state}"),
            "delete": (self.store.delete, self.deleted, set(State) - {State.running}, "is running; cancel first"),
        }[act]
        if run.state in states:
            do(run.id)
            done(run)
        else:
            with pytest.raises(Conflict, match=refusal):
                do(run.id)

    @precondition(lambda self: self.experiments)
    @rule(pick=PICK, act=st.sampled_from(["cancel", "retry", "delete", 0, 5]))
    def act_on_an_experiment(self, pick: int, act: str | int) -> None:
        experiment = self.pick_experiment(pick)
        runs = self.members(experiment)
        if isinstance(act, int):
            self.store.edit_experiment(experiment, {"priority": act})
            self.experiments[experiment] = act
            for run in runs:
                if run.state in UNFINISHED:
                    self.prioritised(run, act)
        elif act == "cancel":
            self.store.cancel_experiment(experiment)
            self.turn_plan(experiment, "open", "cancelled")
            for run in runs:
                if run.state in UNFINISHED:
                    self.cancelled(run)
        elif act == "retry":
            self.store.retry_experiment(experiment)
            for run in runs:
                if run.state is State.failed or (run.state is State.cancelled and experiment in self.plans):
                    self.retried(run)
            self.turn_plan(experiment, "cancelled", "open")
        elif any(run.state is State.running for run in runs):
            with pytest.raises(Conflict, match="has running runs; cancel first"):
                self.store.delete_experiment(experiment)
        else:
            self.store.delete_experiment(experiment)
            del self.experiments[experiment]
            for run in runs:
                self.deleted(run)
            self.plans.pop(experiment, None)

    # What workers do

    @rule(
        paused=st.sampled_from([False, False, False, True]),
        workers=st.integers(1, 4),
        days=st.lists(DAY, min_size=1, max_size=4),
    )
    def work(self, paused: bool, workers: int, days: list[tuple[int, bool, State | str | None]]) -> None:
        """The queue is paused or not, workers claim at the same moment, and some train for a day."""
        self.store.pause(paused)
        self.paused = paused
        with ThreadPoolExecutor(4) as pool:
            leases = [lease for lease in pool.map(self.store.claim, ["w1", "w2", "w3", "w4"][:workers]) if lease]
        expected = {self.queue.next() for _ in range(0 if self.paused else min(workers, len(self.queue.order())))}
        assert {lease.run_id for lease in leases} == expected
        assert len(leases) == len(expected)
        for lease in leases:
            run = self.runs[lease.run_id]
            assert run.lease is None
            run.state, run.lease, run.attempt = State.running, lease, run.attempt + 1
        training = [run for run in self.runs.values() if run.lease]
        for run, (epochs, again, end) in zip(training, days, strict=False):
            self.train(run, epochs, again, end)

    def train(self, run: ModelRun, epochs: int, again: bool, end: State | str | None) -> None:
        assert run.lease is not None
        assert run.lease.renew() is run.cancelling
        again_claimed = self.store.claim("w1", run.lease.token)
        assert again_claimed is not None
        assert again_claimed.run_id == run.id, "a claim whose reply was lost, though others wait or the queue is paused"
        for _ in range(min(epochs, run.epochs - run.epoch)):
            run.epoch, run.losses = run.epoch + 1, 0
            assert run.lease.record_epoch(replace(RECORD, epoch=run.epoch))
        if again and run.epoch:
            assert not run.lease.record_epoch(replace(RECORD, epoch=run.epoch, val_top1=99.0))
        if end == "crash":
            run.lease.lose("the trainer crashed")
            self.lost(run)
        elif isinstance(end, State):
            run.lease.release(end)
            self.end_lease(run, end)

    @precondition(lambda self: self.stale)
    @rule(pick=PICK, write=st.sampled_from(["renew", "describe", "record_epoch", "log", "release", "lose"]))
    def write_with_a_stale_lease(self, pick: int, write: str) -> None:
        arguments: dict[str, tuple[Any, ...]] = {
            "record_epoch": (replace(RECORD, epoch=3),),
            "log": (["x"],),
            "release": (State.completed,),
            "lose": ("crashed",),
        }
        with pytest.raises(LeaseLost):
            getattr(self.stale[pick % len(self.stale)], write)(*arguments.get(write, ()))

    # Accidents

    @precondition(lambda self: self.having(State.running))
    @rule(picks=st.sets(PICK, min_size=1, max_size=3), away=st.sampled_from([False, False, True]))
    def leases_expire(self, picks: set[int], away: bool) -> None:
        """Of workers that fell silent, or that could not be heard because the database was away for an hour."""
        silent = {run.id: run for run in (self.pick(pick, State.running) for pick in sorted(picks))}
        now = int(time.time() * 1000)
        # Those that expired first are swept first.
        self.store.redis.zadd(self.store.key("leases"), {run_id: now - 3000 + i for i, run_id in enumerate(silent)})
        self.store.redis.set(self.store.key("swept_at"), now + (-3_600_000 if away else 60_000))
        if away:
            assert self.store.expire_leases() == 0
            self.store.redis.set(self.store.key("swept_at"), int(time.time() * 1000))
            assert self.store.expire_leases() == 0, "the leases were prolonged"
        else:
            assert self.store.expire_leases() == len(silent)
            for run in silent.values():
                self.lost(run)

    # What must hold

    @invariant()
    def runs_agree(self) -> None:
        for run, expected in zip(self.store.runs(), reversed(self.runs.values()), strict=True):
            assert run.id == expected.id
            assert (run.state, run.epoch, run.attempt) == (expected.state, expected.epoch, expected.attempt)
            assert (run.priority, run.cancelling) == (expected.priority, expected.cancelling)
            assert run.experiment_id == expected.experiment
            assert (run.finished_at is None) == (run.state in UNFINISHED)

    @invariant()
    def the_queue_agrees(self) -> None:
        assert [run.id for run in self.store.queued_runs()] == self.queue.order()
        assert self.store.queued() == len(self.queue.order())
        assert self.store.paused() == self.paused
        assert self.store.garbage() == sorted(self.garbage)

    @invariant()
    def only_running_runs_have_a_lease_and_one(self) -> None:
        leases = {run.id: run.lease.token for run in self.runs.values() if run.lease}
        assert set(self.store.redis.zrange(self.store.key("leases"), 0, -1)) == set(leases)
        for run_id in self.runs:
            assert self.store.redis.hget(self.store.key("run", run_id), "token") == leases.get(run_id)

    @invariant()
    def experiments_count_their_runs(self) -> None:
        found = {experiment.id: experiment for experiment in self.store.experiments()}
        assert list(found) == list(self.experiments)[::-1]
        assert [experiment.priority for experiment in found.values()] == list(self.experiments.values())[::-1]
        for experiment_id, experiment in found.items():
            check_counters(experiment, self.members(experiment_id))

    def teardown(self) -> None:
        """The events told the whole story: the last one of each run and experiment is what is stored."""
        runs, experiments = last_told(self.store)
        assert runs == {run.id: run for run in self.store.runs()}
        assert experiments == {experiment.id: experiment for experiment in self.store.experiments()}
        for run_id, records in zip(self.runs, self.store.epochs(self.runs), strict=True):
            assert [record.epoch for record in records] == list(range(1, self.runs[run_id].epoch + 1))


def check_counters(experiment: Experiment, runs: list[ModelRun]) -> None:
    for state in State:
        assert getattr(experiment, state) == sum(run.state is state for run in runs)
    assert experiment.epochs_done == sum(run.epoch for run in runs)
    assert experiment.epochs_total == sum(run.epoch if run.state in ENDED_EARLY else run.epochs for run in runs)
    assert experiment.seconds == pytest.approx(RECORD.seconds * experiment.epochs_done)


def last_told(store: RunStore) -> tuple[dict[str, Run], dict[str, Experiment]]:
    """Runs and experiments as somebody knows them who has only read the events."""
    runs: dict[str, Run] = {}
    experiments: dict[str, Experiment] = {}
    for _, entry in stored_events(store):
        data = json.loads(entry["data"])
        if entry["kind"] == "run":
            runs[data["id"]] = Run.model_validate(data)
        elif entry["kind"] == "experiment":
            experiments[data["id"]] = Experiment.model_validate(data)
        elif entry["kind"] == "deleted":
            runs.pop(data["run_id"], None)
            if data["run_id"] is None:
                del experiments[data["experiment_id"]]
    return runs, experiments
