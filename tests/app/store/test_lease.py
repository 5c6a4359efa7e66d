"""What a worker may write, and for how long."""

import time
from dataclasses import replace
from typing import Any

import pytest

from app.errors import LeaseLost
from app.settings import Settings
from app.store.lease import MAX_LOSSES
from app.store.rows import State
from app.store.run_store import RunStore
from tests.app.store.test_store import RECORD, SPEC, Claim, specs
from tests.conftest import wait_for


def test_a_trainer_that_crashes_again_and_again_fails_the_run_with_its_last_words(
    store: RunStore, claim: Claim
) -> None:
    [run] = store.create_runs([SPEC])
    for loss in range(1, MAX_LOSSES + 1):
        assert store.run(run.id).state is State.queued
        lease = claim()
        lease.log([f"line {line} of attempt {loss}" for line in range(1, 8)])
        lease.lose("its trainer was ended by SIGSEGV")
    failed = store.run(run.id)
    assert failed.state is State.failed
    assert failed.error == (
        f"lost {MAX_LOSSES} times without finishing an epoch, the last time because its trainer was ended by SIGSEGV; "
        "it last printed: " + " / ".join(f"line {line} of attempt {MAX_LOSSES}" for line in range(3, 8))
    )


def test_a_finished_epoch_forgives_earlier_losses(store: RunStore, claim: Claim) -> None:
    [run] = store.create_runs([replace(SPEC, epochs=2 * MAX_LOSSES)])
    for epoch in range(1, 2 * MAX_LOSSES):
        lease = claim()
        lease.record_epoch(replace(RECORD, epoch=epoch))
        lease.lose("it crashed")
        assert store.run(run.id).state is State.queued


def test_a_lost_run_that_was_being_cancelled_is_cancelled(store: RunStore, claim: Claim) -> None:
    [run] = store.create_runs([SPEC])
    lease = claim()
    store.cancel(run.id)
    lease.lose("it crashed")
    assert store.run(run.id).state is State.cancelled


def test_leases_outlive_an_absent_database(store: RunStore, settings: Settings, claim: Claim) -> None:
    store.create_runs(specs(2))
    old, new = claim(), claim()
    now, leases = int(time.time() * 1000), store.key("leases")
    away = 3_600_000
    store.redis.set(store.key("swept_at"), now - away)
    store.redis.zadd(leases, {old.run_id: now - away + 5_000})  # had 5 s left when the database went away
    assert store.expire_leases() == 0
    old_expires, new_expires = (int(store.redis.zscore(leases, lease.run_id) or 0) for lease in (old, new))
    assert old_expires >= now + 5_000
    assert new_expires <= time.time() * 1000 + settings.lease_seconds * 1000, "no lease is longer than a new one"
    old.renew()
    store.redis.zadd(leases, {old.run_id: now})
    assert store.expire_leases() == 1, "the next sweep expires as usual"
    assert [entry.what for entry in store.history(old.run_id)][-1] == "lost"


def test_a_repeated_record_changes_nothing(store: RunStore, claim: Claim) -> None:
    [run] = store.create_runs([SPEC])
    lease = claim()
    assert lease.record_epoch(RECORD)
    before, seen = store.run(run.id), store.redis.xlen(store.key("events"))
    assert not lease.record_epoch(replace(RECORD, val_top1=99.0))
    assert store.run(run.id) == before
    assert store.epochs([run.id]) == [[RECORD]]
    assert store.redis.xlen(store.key("events")) == seen


@pytest.mark.parametrize("write", ["renew", "describe", "record_epoch", "log", "release", "lose"])
def test_a_stale_lease_is_refused(store: RunStore, claim: Claim, write: str) -> None:
    [run] = store.create_runs([SPEC])
    stale = claim()
    stale.release(State.queued)
    current = claim()
    before = store.run(run.id)
    arguments: dict[str, dict[str, Any]] = {
        "describe": {"step": 5},
        "record_epoch": {"record": RECORD},
        "log": {"lines": ["x"]},
        "release": {"state": State.completed},
        "lose": {"why": "it crashed"},
    }
    with pytest.raises(LeaseLost):
        getattr(stale, write)(**arguments.get(write, {}))
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


def test_cancelling_a_running_run_tells_its_worker(store: RunStore, claim: Claim) -> None:
    [run] = store.create_runs([SPEC])
    lease = claim()
    assert not lease.wait(timeout=0.01)
    assert not lease.renew()
    assert store.cancel(run.id).cancelling
    store.cancel(run.id)
    assert lease.wait(timeout=5)
    assert not lease.wait(timeout=0.01), "asked twice, woken once"
    assert lease.renew()
    assert lease.renew(), "however often it asks: a reply may be lost"
    lease.release(State.queued)
    assert store.run(run.id).state is State.cancelled, "a worker that hands the run back does not revive it"


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
