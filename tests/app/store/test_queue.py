"""Who is next, and who is woken for it."""

import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

from app.settings import Settings
from app.store.rows import State
from app.store.run_store import RunStore
from tests.app.store.test_store import RECORD, SPEC, Claim, an_experiment, events, ids, specs


def test_runs_leave_the_queue_in_order_and_once(store: RunStore) -> None:
    created = [run.id for run in store.create_runs(replace(SPEC, seed=seed) for seed in range(20))]
    with ThreadPoolExecutor(8) as pool:
        leases = list(pool.map(lambda _: store.claim("w"), range(30)))
    claimed = [lease.run_id for lease in leases if lease]
    assert sorted(claimed) == sorted(created)
    assert store.queued() == 0


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
