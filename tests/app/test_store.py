from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest

from app.errors import Conflict, LeaseLost, NotFound
from app.settings import Settings
from app.rows import State
from app.store import MAX_LOSSES, Lease, RunStore
from cct.config import EpochRecord, RunSpec
from tests.conftest import wait_for

Claim = Callable[[], Lease]

SPEC = RunSpec(dataset="digits", epochs=3)
RECORD = EpochRecord(
    epoch=1,
    train_loss=2.0,
    train_top1=30.0,
    val_loss=1.5,
    val_top1=50.5,
    val_top5=90.0,
    lr=0.001,
    seconds=2.0,
    images_per_second=700.0,
    peak_memory_bytes=10**9,
)


def events(store: RunStore, kind: str) -> list[dict[str, str]]:
    return [entry for _, entry in store.redis.xrange(store.key("events")) if entry["kind"] == kind]


def test_a_run_goes_from_the_queue_to_completion(store: RunStore, claim: Claim) -> None:
    [run] = store.create_runs([SPEC])
    assert (run.state, run.spec, run.attempt) == (State.queued, SPEC, 0)
    lease = claim()
    assert lease.run_id == run.id
    lease.describe(device="CPU", parameters=283_723, mixes_batch=0, step=3, steps=12, epoch_seconds=0.5)
    running = store.run(run.id)
    assert (running.state, running.attempt, running.mixes_batch, running.step) == (State.running, 1, False, 3)
    assert running.eta_seconds == pytest.approx(0.5 / (3 / 12) * (3 - 3 / 12))
    for epoch, top1 in enumerate((50.5, 70.25, 60.0), start=1):
        assert lease.record_epoch(replace(RECORD, epoch=epoch, val_top1=top1))
    lease.release(State.completed)
    done = store.run(run.id)
    assert (done.state, done.epoch, done.best_top1, done.final_top1) == (State.completed, 3, 70.25, 60.0)
    assert done.seconds == pytest.approx(6.0)
    assert done.finished_at is not None
    assert done.eta_seconds is None
    assert [record.val_top1 for record in store.epochs([run.id])[0]] == [50.5, 70.25, 60.0]
    assert len(events(store, "epoch")) == 3


def test_runs_leave_the_queue_in_order_and_once(store: RunStore) -> None:
    created = [run.id for run in store.create_runs(replace(SPEC, seed=seed) for seed in range(20))]
    with ThreadPoolExecutor(8) as pool:
        leases = list(pool.map(lambda _: store.claim("w"), range(30)))
    claimed = [lease.run_id for lease in leases if lease]
    assert sorted(claimed) == sorted(created)
    assert store.queued() == 0


def test_a_repeated_record_changes_nothing(store: RunStore, claim: Claim) -> None:
    [run] = store.create_runs([SPEC])
    lease = claim()
    assert lease.record_epoch(RECORD)
    before, seen = store.run(run.id), store.redis.xlen(store.key("events"))
    assert not lease.record_epoch(replace(RECORD, val_top1=99.0))
    assert store.run(run.id) == before
    assert store.epochs([run.id]) == [[RECORD]]
    assert store.redis.xlen(store.key("events")) == seen


@pytest.mark.parametrize("write", ["renew", "describe", "record_epoch", "log", "release"])
def test_a_stale_lease_is_refused(store: RunStore, claim: Claim, write: str) -> None:
    [run] = store.create_runs([SPEC])
    stale = claim()
    stale.release(State.queued)
    current = claim()
    before = store.run(run.id)
    arguments = {"describe": {"step": 5}, "record_epoch": {"record": RECORD}, "log": {"lines": ["x"]}}
    with pytest.raises(LeaseLost):
        getattr(stale, write)(**arguments.get(write, {"state": State.completed} if write == "release" else {}))
    assert store.run(run.id) == before
    assert store.log(run.id) == []
    current.release(State.completed)


def test_an_expired_lease_returns_the_run_to_the_queue_and_then_fails_it(settings: Settings) -> None:
    store = RunStore(settings.model_copy(update={"lease_seconds": 0.05}))
    store.redis.flushdb()
    [run] = store.create_runs([SPEC])
    for loss in range(1, MAX_LOSSES + 1):
        assert store.claim("w")
        wait_for(lambda: store.expire_leases() == 1, 5)
        lost = store.run(run.id)
        assert lost.state is (State.queued if loss < MAX_LOSSES else State.failed)
    assert f"lost {MAX_LOSSES} times" in str(lost.error)
    assert store.claim("w") is None


def test_cancelling_a_queued_run_takes_it_from_the_queue(store: RunStore) -> None:
    [run] = store.create_runs([SPEC])
    assert store.cancel(run.id).state is State.cancelled
    assert store.claim("w") is None
    with pytest.raises(Conflict, match="already cancelled"):
        store.cancel(run.id)


def test_cancelling_a_running_run_tells_its_worker(store: RunStore, claim: Claim) -> None:
    [run] = store.create_runs([SPEC])
    lease = claim()
    assert not lease.cancel_requested(timeout=0.01)
    assert store.cancel(run.id).cancelling
    store.cancel(run.id)
    assert lease.cancel_requested(timeout=5)
    assert not lease.cancel_requested(timeout=0.01), "asked twice, told once"
    lease.release(State.queued)
    assert store.run(run.id).state is State.cancelled, "a worker that hands the run back does not revive it"


def test_an_experiment_counts_its_runs(store: RunStore, claim: Claim) -> None:
    specs = [replace(SPEC, seed=seed) for seed in range(3)]
    experiment = store.create_experiment("Seeds", {"dataset": "digits"}, {"seed": [0, 1, 2]}, specs)
    assert (experiment.queued, experiment.runs, experiment.epochs_total, experiment.progress) == (3, 3, 9, 0.0)
    lease = claim()
    lease.record_epoch(RECORD)
    lease.release(State.failed, "out of memory")
    store.cancel(store.experiment_runs(experiment.id)[1].id)
    after = store.experiment(experiment.id)
    assert (after.queued, after.failed, after.cancelled) == (1, 1, 1)
    assert (after.epochs_done, after.epochs_total) == (1, 4), "epochs that will never come do not count"
    assert store.run(lease.run_id).error == "out of memory"
    assert [run.spec.seed for run in store.experiment_runs(experiment.id)] == [0, 1, 2]
    assert store.cancel_experiment(experiment.id).queued == 0


def test_what_is_not_there_is_named(store: RunStore) -> None:
    with pytest.raises(NotFound, match="no run 'nope'"):
        store.run("nope")
    with pytest.raises(NotFound, match="no experiment 'nope'"):
        store.experiment_runs("nope")


def test_workers_are_listed_until_they_fall_silent(store: RunStore) -> None:
    store.heartbeat("w1", device="CPU", version="0.1.0", run_id="abc")
    [worker] = store.workers()
    assert (worker.name, worker.device, worker.run_id) == ("w1", "CPU", "abc")
    store.heartbeat("w1", device="CPU", version="0.1.0", run_id=None)
    assert store.workers()[0].run_id is None
    store.forget_worker("w1")
    assert store.workers() == []


def test_the_log_keeps_the_order_of_lines(store: RunStore, claim: Claim) -> None:
    [run] = store.create_runs([SPEC])
    claim().log(["one", "two"])
    assert [line.text for line in store.log(run.id)] == ["one", "two"]
