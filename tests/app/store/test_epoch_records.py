"""What an API process keeps of epoch records is always what the database holds."""

import threading
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import pytest

import app.store.epoch_records
from app.settings import Settings
from app.store.epoch_records import EpochRecords
from app.store.lease import Lease
from app.store.rows import Run, State
from app.store.run_store import RunStore
from cct.events import EpochRecord
from tests.app.store.test_store import RECORD, SPEC, Claim

Read = Callable[[Sequence[Run]], list[list[EpochRecord]]]


@pytest.fixture
def records(store: RunStore, settings: Settings) -> Read:
    """Reads through a store that knows what it has read before, and compares with one that knows nothing."""

    def read(runs: Sequence[Run]) -> list[list[EpochRecord]]:
        ids = [run.id for run in runs]
        found = store.epochs(ids)
        assert found == RunStore(settings).epochs(ids)
        return found

    return read


def train(lease: Lease, epochs: range, **measured: Any) -> None:
    for epoch in epochs:
        lease.record_epoch(replace(RECORD, epoch=epoch, **measured))


def test_a_run_that_grows_is_decoded_once(store: RunStore, claim: Claim, records: Read) -> None:
    runs = store.create_runs([replace(SPEC, seed=seed) for seed in range(2)])
    assert records(runs) == [[], []]
    lease = claim()
    train(lease, range(1, 3))
    [[first, second], others] = records(runs)
    assert others == []
    train(lease, range(3, 4), val_top1=77.0)
    [[*again, third], _] = records(runs)
    assert third.val_top1 == 77.0
    assert again[0] is first
    assert again[1] is second


def test_what_is_returned_belongs_to_the_caller(store: RunStore, claim: Claim, records: Read) -> None:
    runs = store.create_runs([SPEC])
    train(claim(), range(1, 3))
    records(runs)[0].clear()
    assert len(records(runs)[0]) == 2


def test_a_run_named_twice_is_answered_twice(store: RunStore, claim: Claim, records: Read) -> None:
    [run] = store.create_runs([SPEC])
    lease = claim()
    for epoch in range(1, 3):
        train(lease, range(epoch, epoch + 1))
        assert [len(found) for found in records([run, run])] == [epoch, epoch]


def test_a_deleted_run_is_forgotten(store: RunStore, claim: Claim, records: Read) -> None:
    runs = store.create_runs([replace(SPEC, seed=seed) for seed in range(2)])
    for _ in runs:
        lease = claim()
        train(lease, range(1, 4))
        lease.release(State.completed)
    assert [len(found) for found in records(runs)] == [3, 3]
    store.delete(runs[0].id)
    assert [len(found) for found in records(runs)] == [0, 3]


@pytest.mark.parametrize("epochs_after", [0, 1, 3, 4])
def test_an_older_backup_of_a_run_replaces_what_was_known(
    store: RunStore,
    claim: Claim,
    records: Read,
    epochs_after: int,
) -> None:
    """After its backup the run is trained on, deleted, brought back, and trained on otherwise."""
    [run] = store.create_runs([replace(SPEC, epochs=9)])
    lease = claim()
    train(lease, range(1, 4))
    dump = store.dump("run", run.id)
    train(lease, range(4, 7))
    lease.release(State.completed)
    assert len(records([run])[0]) == 6
    store.delete(run.id)
    dump["fields"]["state"] = State.queued
    assert store.load("run", run.id, dump) == "loaded"
    train(claim(), range(4, 4 + epochs_after), val_top1=99.0)
    assert [record.val_top1 for record in records([run])[0]] == [50.5] * 3 + [99.0] * epochs_after


def test_an_experiments_runs_come_and_go(store: RunStore, claim: Claim, records: Read) -> None:
    specs = [replace(SPEC, seed=seed) for seed in range(5)]
    experiment = store.create_experiment("Seeds", {}, {}, specs[:3])

    def lengths() -> list[int]:
        return [len(found) for found in records(store.experiment_runs(experiment.id))]

    for epochs in (1, 2, 3):
        lease = claim()
        train(lease, range(1, epochs + 1))
        lease.release(State.completed)
    assert lengths() == [1, 2, 3]
    store.delete(store.experiment_runs(experiment.id)[1].id)
    assert lengths() == [1, 3]
    store.add_runs(experiment.id, lambda *_: ({}, {}, specs[3:]))
    train(claim(), range(1, 5))
    assert lengths() == [1, 3, 4, 0]


def test_few_records_are_kept(store: RunStore, claim: Claim, monkeypatch: pytest.MonkeyPatch) -> None:
    """The most recently read streams, as many as their epochs allow; the others are read and decoded anew."""
    monkeypatch.setattr(app.store.epoch_records, "RECORDS_KEPT", 10)
    runs = store.create_runs([replace(SPEC, seed=seed) for seed in range(5)])
    for _ in runs:
        train(claim(), range(1, 5))
    streams = [store.key("run", run.id, "epochs") for run in runs]
    cache = EpochRecords(store.redis)
    first = [cache.read([stream])[0] for stream in streams]
    assert [len(found) for found in first] == [4] * 5
    kept = [cache.read([stream])[0][0] is found[0] for stream, found in zip(streams[3:], first[3:], strict=True)]
    assert kept == [True, True]
    assert [cache.read([stream])[0][0] is found[0] for stream, found in zip(streams, first, strict=True)] == [False] * 5
    assert [len(found) for found in cache.read(streams)] == [4] * 5  # more than are kept at once


def test_threads_read_while_epochs_are_recorded(store: RunStore, claim: Claim) -> None:
    runs = store.create_runs([replace(SPEC, epochs=100, seed=seed) for seed in range(2)])
    leases = [claim() for _ in runs]
    ids = [run.id for run in runs]
    done = threading.Event()
    wrong: list[list[int]] = []

    def read() -> None:
        while not done.is_set():
            for found in store.epochs(ids):
                epochs = [record.epoch for record in found]
                if epochs != list(range(1, len(epochs) + 1)):
                    wrong.append(epochs)

    threads = [threading.Thread(target=read) for _ in range(3)]
    for thread in threads:
        thread.start()
    for epoch in range(1, 101):
        for lease in leases:
            train(lease, range(epoch, epoch + 1))
    done.set()
    for thread in threads:
        thread.join()
    assert wrong == []
    assert [len(found) for found in store.epochs(ids)] == [100, 100]
