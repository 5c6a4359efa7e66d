"""A run goes on from its own newest checkpoint or says why not, and no earlier attempt can touch that."""

import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import psutil
import pytest

from app.cli.services import Services
from app.settings import Settings
from app.store.board import check_folder
from app.store.rows import Run, State
from app.store.run_store import RunStore
from cct.checkpoint import BEST, LAST
from cct.events import EpochRecord
from cct.training import train
from tests.app.store.test_store import RECORD
from tests.conftest import wait_for
from tests.worker.conftest import LONG, SHORT, claimed, trainer
from worker import attempt
from worker.supervisor import Exit, Supervisor


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.timeout(120)
def test_a_frozen_trainer_that_goes_on_writes_nothing(
    database: tuple[Services, Settings], monkeypatch: pytest.MonkeyPatch
) -> None:
    """While the database is away, so that it cannot know that its run belongs to another one or is gone."""
    services, settings = database
    monkeypatch.setenv("CCTBOARD_LEASE_SECONDS", "3")
    store, valkey = (
        RunStore(settings.model_copy(update={"lease_seconds": 3.0})),
        psutil.Process(services.process_id("valkey")),
    )
    runs = store.create_runs([LONG, replace(LONG, seed=1)])
    first = [claimed(store) for _ in runs]
    with trainer(settings, first[0]) as one, trainer(settings, first[1]) as other:
        wait_for(lambda: all(store.run(run.id).epoch >= 2 for run in runs), 60)
        for frozen in (one, other):
            frozen.suspend()
        wait_for(lambda: all(run.state is State.queued for run in expired(store, runs)), 20)
        reached = {run.id: store.run(run.id).epoch for run in runs}
        second = [claimed(store) for _ in runs]
        with trainer(settings, second[0]) as another, trainer(settings, second[1]) as yet_another:
            wait_for(lambda: all(store.run(run.id).epoch >= reached[run.id] + 3 for run in runs), 60)
            for process in (another, yet_another):
                process.terminate()
                assert process.wait(20) == Exit.STOPPED
        for lease in second:
            lease.release(State.cancelled)
        kept, deleted = runs
        store.delete(deleted.id)
        attempt.abandon(settings.checkpoints(deleted.id))
        before = files(settings.run_folder(kept.id))
        assert {Path(name).name for name in before} == {LAST, BEST}
        valkey.suspend()
        for frozen in (one, other):
            frozen.resume()
        time.sleep(3)
        valkey.resume()
        for frozen in (one, other):
            frozen.wait(60)
        assert files(settings.run_folder(kept.id)) == before
        assert not settings.run_folder(deleted.id).exists()


def expired(store: RunStore, runs: Sequence[Run]) -> list[Run]:
    store.expire_leases()
    return store.runs_by_id(run.id for run in runs)


def test_an_attempt_begins_with_the_files_of_the_one_before(tmp_path: Path) -> None:
    flat = tmp_path / "run"
    flat.mkdir()
    (flat / LAST).write_bytes(b"of version 0.1")
    (flat / "last.pt.1.tmp").write_bytes(b"half")
    first = attempt.begin(flat, flat, 3)
    assert files(first) == {LAST: b"of version 0.1"}
    attempt.supersede(first)
    assert files(flat) == {f"3/{LAST}": b"of version 0.1"}
    assert attempt.begin(first, flat, 3) == first, "another process of the same attempt"
    second = attempt.begin(first, flat, 10)
    (second / "new").write_bytes(b"11")
    (second / "new").replace(second / LAST)
    assert files(flat) == {f"3/{LAST}": b"of version 0.1", f"10/{LAST}": b"11"}
    attempt.supersede(first)
    assert second.exists(), "by an earlier attempt that was frozen"
    attempt.abandon(first)
    assert files(flat) == {f"10/{LAST}": b"11"}
    attempt.abandon(second)
    assert not flat.exists()


def test_files_are_copied_where_they_cannot_be_linked(tmp_path: Path) -> None:
    with TemporaryDirectory(dir="/dev/shm") as elsewhere:
        (Path(elsewhere) / LAST).write_bytes(b"1")
        assert files(attempt.begin(Path(elsewhere), tmp_path / "run", 1)) == {LAST: b"1"}


def test_the_newest_attempt_is_what_others_see(settings: Settings) -> None:
    folder = settings.run_folder("a")
    assert settings.checkpoints("a") == folder
    for number in (2, 10, 9):
        (folder / str(number)).mkdir(parents=True)
    (folder / "new-11").mkdir()
    assert settings.checkpoints("a") == folder / "10"


def test_a_run_of_version_0_1_goes_on(settings: Settings, store: RunStore, here: None) -> None:
    [run] = store.create_runs([SHORT])
    told = train(SHORT, data_dir=settings.datasets_folder, checkpoint_dir=settings.run_folder(run.id))
    record = next(event for event in told if isinstance(event, EpochRecord))
    lease = claimed(store)
    lease.record_epoch(record)
    lease.release(State.queued)
    Supervisor(settings, store, "w").train_next()
    assert store.run(run.id).state is State.completed, store.run(run.id).error
    assert [one.epoch for one in store.epochs([run.id])[0]] == [1, 2]
    assert set(files(settings.run_folder(run.id))) == {
        *("2/best.pt", "2/last.pt", "2/best.safetensors", "2/answers.npz")
    }


def test_a_run_whose_checkpoint_is_gone_does_not_begin_again_without_a_word(
    settings: Settings,
    store: RunStore,
    here: None,
) -> None:
    check_folder(store, settings.data)
    [run] = store.create_runs([SHORT])
    lease = claimed(store)
    lease.record_epoch(RECORD)
    lease.release(State.queued)
    Supervisor(settings, store, "w").train_next()
    failed = store.run(run.id)
    assert failed.state is State.failed
    assert failed.error == (
        f"epoch 1 of this run is recorded, but there is no checkpoint in {settings.checkpoints(run.id)}; put the "
        "right one there and try again, or train the same spec as a new run"
    )
    assert store.epochs([run.id]) == [[RECORD]]
