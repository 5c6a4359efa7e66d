import json
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import pytest

import app.store.run_view
from app.errors import Conflict, LeaseLost, NotFound
from app.settings import Settings
from app.store.lease import MAX_LOSSES, Lease
from app.store.rows import Experiment, Run, State
from app.store.run_store import Grown, RunStore
from cct.events import EpochRecord
from cct.spec import RunSpec
from tests.conftest import stored_events, wait_for

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
    return [entry for _, entry in stored_events(store) if entry["kind"] == kind]


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


def specs(count: int) -> list[RunSpec]:
    return [replace(SPEC, seed=seed) for seed in range(count)]


def an_experiment(store: RunStore, count: int, priority: int = 0, once: str | None = None) -> tuple[str, list[str]]:
    """Ids of a new experiment and of its runs."""
    axes = {"seed": list(range(count))}
    experiment = store.create_experiment("Seeds", {"dataset": "digits"}, axes, specs(count), priority, once)
    return experiment.id, [run.id for run in store.experiment_runs(experiment.id)]


def ids(runs: list[Run]) -> list[str]:
    return [run.id for run in runs]


def test_experiments_take_turns(store: RunStore) -> None:
    _, first = an_experiment(store, 3)
    _, second = an_experiment(store, 2)
    [single] = ids(store.create_runs([SPEC]))
    assert ids(store.queued_runs()) == [first[0], second[0], single, first[1], second[1], first[2]]


def test_a_newcomer_waits_one_turn_not_for_all_that_came_before(store: RunStore, claim: Claim) -> None:
    _, first = an_experiment(store, 10)
    for _ in range(4):
        claim()
    _, late = an_experiment(store, 2)
    assert ids(store.queued_runs())[:5] == [first[4], late[0], first[5], late[1], first[6]]


def test_a_cancelled_run_gives_its_turn_back(store: RunStore, claim: Claim) -> None:
    experiment, runs = an_experiment(store, 4)
    _, others = an_experiment(store, 3)
    store.cancel(runs[0])
    store.cancel(runs[2])
    assert ids(store.queued_runs()) == [runs[1], others[0], runs[3], others[1], others[2]]
    store.cancel_experiment(experiment)
    assert claim().run_id == others[0]
    store.retry(runs[0])
    assert ids(store.queued_runs()) == [runs[0], others[1], others[2]], "as if nothing had ever waited before it"


def test_runs_are_added_at_the_experiments_priority(store: RunStore) -> None:
    experiment = store.create_experiment("E", {}, {}, [SPEC], priority=2).id
    [added] = (run for run in store.experiment_runs(store.add_runs(experiment, lambda *_: ({}, {}, [SPEC])).id)[1:])
    assert added.priority == 2
    assert store.edit_experiment(experiment, {"priority": -1}).priority == -1
    assert [
        run.priority for run in store.experiment_runs(store.add_runs(experiment, lambda *_: ({}, {}, [SPEC])).id)
    ] == [-1] * 3


def test_what_becomes_ready_wakes_as_many_workers(settings: Settings, store: RunStore, claim: Claim) -> None:
    woken: list[int] = []
    waking = RunStore(settings, wake=woken.append)
    [run] = waking.create_runs([SPEC], once="key")
    waking.create_runs([SPEC], once="key")
    experiment = waking.create_experiment("E", {}, {}, [SPEC, SPEC]).id
    waking.add_runs(experiment, lambda *_: ({}, {}, [SPEC, SPEC, SPEC]))
    waking.cancel(run.id)
    waking.retry(run.id)
    for _ in range(2):
        claim().release(State.failed)
    waking.retry_experiment(experiment)
    waking.pause(True)
    waking.pause(False)
    assert woken == [1, 2, 3, 1, 1, 5]  # one of the two that failed is of the experiment


def test_who_adds_to_an_experiment_at_the_same_time_is_not_lost(store: RunStore) -> None:
    """Another request comes between reading the experiment and writing it."""
    experiment = store.create_experiment("E", {}, {"seed": [0]}, [SPEC]).id
    seen: list[list[int]] = []

    def one_more(found: Experiment, runs: Sequence[Run]) -> Grown:
        seen.append(found.axes["seed"])
        seeds = [*found.axes["seed"], max(found.axes["seed"]) + 1]
        return found.spec, {"seed": seeds}, [replace(SPEC, seed=seeds[-1])]

    def interrupted(found: Experiment, runs: Sequence[Run]) -> Grown:
        if not seen:
            store.add_runs(experiment, one_more)
        return one_more(found, runs)

    grown = store.add_runs(experiment, interrupted)
    assert (seen, grown.axes) == ([[0], [0], [0, 1]], {"seed": [0, 1, 2]})
    assert [run.spec.seed for run in store.experiment_runs(experiment)] == [0, 1, 2]


def test_a_view_that_is_far_behind_reads_all_anew(store: RunStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(app.store.run_view, "EVENTS_READ", 4)
    [run] = store.create_runs([SPEC])
    assert store.runs() == [run]
    for number in range(9):
        store.edit(run.id, {"note": f"note {number}"})
    [found] = store.runs()
    assert found.note == "note 8"


def test_higher_priority_goes_first(store: RunStore) -> None:
    low, middle, high = [store.create_runs([SPEC], priority)[0].id for priority in (-5, 0, 100)]
    assert ids(store.queued_runs()) == [high, middle, low]
    assert store.edit(low, {"priority": 100}).priority == 100
    assert ids(store.queued_runs()) == [high, low, middle], "it joins behind those of its new priority"


def test_an_experiments_priority_is_that_of_its_unfinished_runs(store: RunStore, claim: Claim) -> None:
    experiment, [first, second, third] = an_experiment(store, 3)
    [single] = ids(store.create_runs([SPEC]))
    claim().release(State.completed)
    running = claim()
    store.edit_experiment(experiment, {"priority": 3, "note": "urgent"})
    assert [store.run(run_id).priority for run_id in (first, second, third, single)] == [0, 3, 3, 0]
    assert running.run_id == single
    assert store.experiment(experiment).note == "urgent"


def test_a_run_that_was_handed_back_goes_first(store: RunStore, claim: Claim) -> None:
    an_experiment(store, 2)
    an_experiment(store, 2)
    [single] = ids(store.create_runs([SPEC]))
    leases = [claim() for _ in range(4)]
    handed_back = next(lease for lease in leases if lease.run_id == single)
    handed_back.release(State.queued)
    assert store.queued_runs()[0].id == single
    assert claim().run_id == single


def test_a_paused_queue_gives_nothing_out(store: RunStore, claim: Claim) -> None:
    store.create_runs(specs(2))
    running = claim()
    store.pause(True)
    assert store.paused()
    assert store.claim("w") is None
    assert running.record_epoch(RECORD), "what runs goes on"
    running.release(State.completed)
    assert store.create_runs([SPEC])[0].state is State.queued, "the queue still grows"
    store.pause(False)
    assert claim()
    assert [json.loads(event["data"]) for event in events(store, "queue")] == [{"paused": True}, {"paused": False}]


def test_a_retried_run_continues_with_its_losses_forgotten(store: RunStore, claim: Claim) -> None:
    _, [run_id] = an_experiment(store, 1)
    lease = claim()
    lease.record_epoch(RECORD)
    lease.release(State.queued)
    for _ in range(MAX_LOSSES):
        claim().lose("the trainer crashed")
    assert store.run(run_id).state is State.failed
    retried = store.retry(run_id)
    assert (retried.state, retried.epoch, retried.error, retried.finished_at) == (State.queued, 1, None, None)
    claim().lose("the trainer crashed")
    assert store.run(run_id).state is State.queued, "it is the first loss again"
    lease = claim()
    assert lease.record_epoch(replace(RECORD, epoch=2))
    with pytest.raises(Conflict, match="is running; only a failed or cancelled run can be retried"):
        store.retry(run_id)


def test_an_experiments_failed_runs_are_retried_together(store: RunStore, claim: Claim) -> None:
    experiment, runs = an_experiment(store, 4)
    for state in (State.failed, State.completed, State.failed):
        claim().release(state)
    store.cancel(runs[3])
    after = store.retry_experiment(experiment)
    assert (after.queued, after.completed, after.cancelled, after.failed) == (2, 1, 1, 0)
    assert after.epochs_total == 9
    assert ids(store.queued_runs()) == [runs[0], runs[2]]


def test_a_deleted_run_leaves_only_garbage(store: RunStore, claim: Claim) -> None:
    experiment, [first, second, third] = an_experiment(store, 3)
    lease = claim()
    lease.record_epoch(RECORD)
    lease.log(["loss 2.0"])
    with pytest.raises(Conflict, match="is running; cancel first, then delete"):
        store.delete(first)
    lease.release(State.failed, "out of memory")
    store.delete(first)
    store.delete(second)
    left = store.experiment(experiment)
    assert (left.runs, left.queued, left.failed, left.epochs_done, left.epochs_total) == (1, 1, 0, 0, 3)
    assert left.seconds == pytest.approx(0)
    assert ids(store.runs()) == ids(store.experiment_runs(experiment)) == ids(store.queued_runs()) == [third]
    with pytest.raises(NotFound):
        store.run(first)
    assert store.redis.keys(store.key("run", first) + "*") == []
    assert store.garbage() == sorted([first, second])
    store.collected(first)
    assert store.garbage() == [second]


def test_a_deleted_experiment_takes_its_runs_along(store: RunStore, claim: Claim) -> None:
    experiment, runs = an_experiment(store, 2)
    [single] = ids(store.create_runs([SPEC]))
    lease = claim()
    with pytest.raises(Conflict, match="has running runs; cancel first, then delete"):
        store.delete_experiment(experiment)
    lease.release(State.completed)
    store.delete_experiment(experiment)
    with pytest.raises(NotFound):
        store.experiment(experiment)
    assert store.experiments() == []
    assert ids(store.runs()) == ids(store.queued_runs()) == [single]
    assert store.garbage() == sorted(runs)
    assert {"run_id": None, "experiment_id": experiment} in [json.loads(e["data"]) for e in events(store, "deleted")]


def test_a_request_with_a_used_key_is_answered_as_the_first_time(store: RunStore) -> None:
    first = store.create_runs(specs(2), once="k1")
    assert store.create_runs(specs(2), once="k1") == first
    experiment, runs = an_experiment(store, 2, once="k2")
    assert an_experiment(store, 2, once="k2") == (experiment, runs)
    assert store.queued() == 4
    for other in (specs(3), [replace(spec, epochs=9) for spec in specs(2)]):
        with pytest.raises(Conflict, match="use a new one for each request"):
            store.create_runs(other, once="k1")
    with pytest.raises(Conflict):
        store.create_runs(specs(2), priority=1, once="k1")
    with pytest.raises(Conflict):
        store.create_runs(specs(2), once="k2")
    assert store.queued() == 4
    assert len(store.create_runs(specs(2), once="k3")) == 2, "another key is another request"


def test_one_of_many_simultaneous_requests_with_one_key_queues(store: RunStore) -> None:
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: store.create_runs(specs(2), once="k"), range(16)))
    assert all(ids(answer) == ids(answers[0]) for answer in answers)
    assert store.queued() == 2


@pytest.mark.parametrize(
    "experiment", [None, {"id": "e1", "is_new": True, "fields": ["name", "E", "spec", "{}", "axes", "{}"]}]
)
def test_a_command_sent_twice_because_its_reply_was_lost_queues_once(store: RunStore, experiment: object) -> None:
    runs = [{"id": run_id, "fields": ["spec", json.dumps({}), "epochs", "3"]} for run_id in ("r1", "r2")]
    payload = json.dumps({"runs": runs} | ({"experiment": experiment} if experiment else {}))
    assert store._do("create", payload) == store._do("create", payload)
    assert ids(store.queued_runs()) == ["r1", "r2"]
    if experiment:
        assert store.experiment("e1").queued == 2


def test_runs_are_added_to_an_experiment(store: RunStore) -> None:
    experiment, runs = an_experiment(store, 1)
    grown = store.add_runs(
        experiment, lambda *_: ({"dataset": "digits", "epochs": 5}, {"seed": [0, 1]}, [replace(SPEC, seed=1)])
    )
    assert (grown.queued, grown.axes, grown.spec["epochs"]) == (2, {"seed": [0, 1]}, 5)
    assert ids(store.experiment_runs(experiment))[:1] == runs
    store.delete_experiment(experiment)
    with pytest.raises(NotFound):
        store.add_runs(experiment, lambda *_: ({}, {}, [SPEC]))
    assert store.runs() == []


def test_notes_and_tags_are_kept(store: RunStore) -> None:
    [run] = store.create_runs([SPEC])
    edited = store.edit(run.id, {"note": "a “good” one", "tags": ["paper", "fig. 2"]})
    assert (edited.note, edited.tags, edited.state) == ("a “good” one", ["paper", "fig. 2"], State.queued)
    assert store.edit(run.id, {}) == edited
    assert store.edit(run.id, {"note": "", "tags": []}).tags == []
    for edit in (store.edit, store.edit_experiment):
        with pytest.raises(NotFound):
            edit("nope", {"note": "x"})
    assert store.redis.keys(store.key("*nope*")) == []


def test_the_history_tells_what_happened(store: RunStore) -> None:
    [run] = store.create_runs([SPEC])

    def claim(worker: str) -> Lease:
        lease = store.claim(worker)
        assert lease
        return lease

    store.edit(run.id, {"priority": 7})
    claim("w1").lose("its trainer was killed")
    lease = claim("w2")
    lease.record_epoch(RECORD)
    lease.release(State.queued)
    claim("w1").release(State.failed, "out of memory")
    store.retry(run.id)
    store.cancel(run.id)
    entries = store.history(run.id)
    assert [(entry.what, entry.detail) for entry in entries] == [
        ("queued", ""),
        ("priority", "7"),
        ("started", "w1"),
        ("lost", "its trainer was killed"),
        ("started", "w2"),
        ("handed back", ""),
        ("resumed", "w1"),
        ("failed", "out of memory"),
        ("retried", ""),
        ("cancelled", ""),
    ]
    assert [entry.at for entry in entries] == sorted(entry.at for entry in entries)


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


def test_cancelling_a_queued_run_takes_it_from_the_queue(store: RunStore) -> None:
    [run] = store.create_runs([SPEC])
    assert store.cancel(run.id).state is State.cancelled
    assert store.claim("w") is None
    with pytest.raises(Conflict, match="already cancelled"):
        store.cancel(run.id)


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
