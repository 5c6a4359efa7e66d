import json
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest

import app.store.run_view
from app.errors import Conflict, Invalid, NotFound
from app.store.lease import MAX_LOSSES, Lease
from app.store.rows import Experiment, Run, State
from app.store.run_store import Grown, RunStore
from cct.events import EpochRecord
from cct.spec import RunSpec
from tests.conftest import stored_events

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


def specs(count: int) -> list[RunSpec]:
    return [replace(SPEC, seed=seed) for seed in range(count)]


def an_experiment(store: RunStore, count: int, priority: int = 0, once: str | None = None) -> tuple[str, list[str]]:
    """Ids of a new experiment and of its runs."""
    axes = {"seed": list(range(count))}
    experiment = store.create_experiment("Seeds", {"dataset": "digits"}, axes, specs(count), priority, once)
    return experiment.id, [run.id for run in store.experiment_runs(experiment.id)]


def ids(runs: list[Run]) -> list[str]:
    return [run.id for run in runs]


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
    payload = json.dumps({"runs": runs, "author": ""} | ({"experiment": experiment} if experiment else {}))
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
    assert store.edit_tags(run.id, ["draft", "paper"], ["fig. 2", "nothing"]).tags == ["paper", "draft"]
    with pytest.raises(Invalid, match="at most 20 tags"):
        store.edit_tags(run.id, [str(number) for number in range(19)], [])
    assert store.edit_tags(run.id, [], ["paper", "draft"]).tags == []
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


def test_cancelling_a_queued_run_takes_it_from_the_queue(store: RunStore) -> None:
    [run] = store.create_runs([SPEC])
    assert store.cancel(run.id).state is State.cancelled
    assert store.claim("w") is None
    with pytest.raises(Conflict, match="already cancelled"):
        store.cancel(run.id)


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
