"""The trainer that waits for the next run of a slot."""

import os
import signal
import time
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path

import psutil
import pytest

from app.queue import create_queue, wake_workers
from app.settings import Settings
from app.store.rows import State
from app.store.run_store import RunStore
from cct.spec import RunSpec
from tests.conftest import wait_for
from tests.worker.conftest import LONG, QUICK, trainer_of, worker
from worker import process
from worker.process import Spare


def waiting(worker: psutil.Process) -> list[int]:
    return [child.pid for child in worker.children() if child.cmdline()[1:3] == ["-m", "worker.trainer"]]


@pytest.mark.timeout(120)
def test_it_trains_one_run_and_nothing_of_it_outlives_its_worker(
    settings: Settings, store: RunStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    (temporary := settings.data / "tmp").mkdir()
    monkeypatch.setenv("TMPDIR", str(temporary))
    with worker(settings) as board_worker:
        wait_for(lambda: waiting(board_worker), 30)
        [first] = waiting(board_worker)
        short, long, _ = store.create_runs([RunSpec(**QUICK, epochs=1), LONG, LONG])
        wake_workers(create_queue(settings), 1)
        assert trainer_of(board_worker, short.id).pid == first
        wait_for(lambda: store.run(long.id).epoch, 60)
        assert store.run(short.id).state is State.completed
        assert not psutil.pid_exists(first), "a process trains one run"
        released, claimed = (store.history(short.id)[-1].at, store.history(long.id)[-1].at)
        assert (claimed - released).total_seconds() < 0.5, "without waiting for a message"
        wait_for(lambda: len(waiting(board_worker)) == 2, 30)
        left = [psutil.Process(trainer) for trainer in waiting(board_worker)]
        board_worker.send_signal(signal.SIGKILL)
        assert psutil.wait_procs(left, 20)[1] == []
    assert list(temporary.iterdir()) == []


@pytest.fixture
def spare() -> Iterator[Spare]:
    spare = Spare(dict(os.environ))
    yield spare
    spare.close()


def test_code_that_has_changed_is_not_trained_with(
    spare: Spare, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(process, "_ROOT", tmp_path)
    (tmp_path / "cct").mkdir()
    (pooling := tmp_path / "cct" / "pooling.py").touch()
    os.utime(pooling, (0, 0))
    spare.prepare()
    outdated = spare.process_id
    spare.prepare()
    assert spare.process_id == outdated
    os.utime(pooling, (time.time() + 1, time.time() + 1))
    with spare.take() as trainer, trainer.process.stdout or nullcontext():
        assert trainer.process.pid != outdated
    assert outdated is not None
    assert not psutil.pid_exists(outdated)


def test_there_is_none_when_memory_is_short(spare: Spare, monkeypatch: pytest.MonkeyPatch) -> None:
    for available, has_one in [(3, True), (1.5, True), (0.5, False), (1.5, False), (3, True)]:
        monkeypatch.setattr(process, "available_bytes", lambda: available * 2**30)  # noqa: B023
        spare.prepare()
        assert (spare.process_id is not None) == has_one, available
    spare.close()
    spare.prepare()
    assert spare.process_id is None
