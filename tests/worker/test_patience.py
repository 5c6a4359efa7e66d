"""No run is lost without cause: a system that sleeps, a database that is away or full, output that nobody closes."""

import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import psutil
import pytest

from app.cli.services import Services
from app.queue import create_queue, wake_workers
from app.settings import Settings
from app.store.lease import MAX_LOSSES
from app.store.rows import State
from app.store.run_store import RunStore
from tests.conftest import wait_for
from tests.worker.conftest import LONG, SHORT, worker
from tests.worker.test_outage import gone
from worker.supervisor import Supervisor


def losses(store: RunStore, run_id: str) -> list[str]:
    return [entry.detail for entry in store.history(run_id) if entry.what == "lost"]


@pytest.mark.timeout(120)
def test_a_system_that_sleeps_longer_than_a_stall_loses_no_run(
    settings: Settings, store: RunStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CCTBOARD_LEASE_SECONDS", "3")
    monkeypatch.setenv("CCTBOARD_STALL_SECONDS", "10")  # more than a trainer's start takes on a busy machine
    [run] = store.create_runs([LONG])
    with worker(settings) as process:
        wait_for(lambda: store.run(run.id).epoch, 60)
        asleep = [process, *process.children(recursive=True)]
        for one in asleep:
            one.suspend()
        time.sleep(12)
        before = store.run(run.id).epoch
        for one in asleep:
            one.resume()
        wait_for(lambda: store.run(run.id).epoch >= before + 3, 30)
        assert (store.run(run.id).attempt, losses(store, run.id)) == (1, [])


LEAVES_A_PROCESS_BEHIND = """
import subprocess, sys
if "worker.trainer" in sys.orig_argv:
    subprocess.Popen(["sleep", "60"], start_new_session=True)
"""
"""For Python's start: a process that holds the trainer's output, as a daemon of a library does."""


def test_a_process_that_holds_the_trainers_output_does_not_hold_the_worker(
    settings: Settings, store: RunStore, here: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "sitecustomize.py").write_text(LEAVES_A_PROCESS_BEHIND)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    [run] = store.create_runs([SHORT])
    training = threading.Thread(target=Supervisor(settings, store, "w").train_next, daemon=True)
    training.start()
    wait_for(lambda: store.run(run.id).epoch == 2, 60)
    wait_for(lambda: store.run(run.id).state is State.completed, 10)
    training.join(10)
    assert not training.is_alive()


@pytest.mark.timeout(120)
def test_a_database_that_is_away_while_a_trainer_starts_is_waited_for(
    database: tuple[Services, Settings], monkeypatch: pytest.MonkeyPatch
) -> None:
    services, settings = database
    monkeypatch.setenv("CCTBOARD_REDIS_URL", str(settings.redis_url))
    monkeypatch.setenv("CCTBOARD_DATA", str(settings.data))
    store = RunStore(settings)
    [run] = store.create_runs([SHORT])
    supervisor = Supervisor(settings, store, "w")
    training = threading.Thread(target=supervisor.train_next, daemon=True)
    training.start()
    wait_for(lambda: supervisor.slots[0].trainer, 10)
    trainer = psutil.Process(supervisor.slots[0].trainer)
    sign_of_life = Path(f"/proc/{trainer.pid}/fd/{trainer.cmdline()[-1]}")
    before = sign_of_life.stat().st_mtime_ns
    with gone(services, settings.data):
        wait_for(lambda: not trainer.is_running() or sign_of_life.stat().st_mtime_ns > before, 30)
    training.join(60)
    assert (store.run(run.id).state, losses(store, run.id)) == (State.completed, [])


@pytest.mark.timeout(120)
def test_a_full_database_is_waited_for_and_a_lost_message_does_not_matter(
    database: tuple[Services, Settings], monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    _, settings = database
    monkeypatch.setenv("CCTBOARD_LEASE_SECONDS", "3")
    store = RunStore(settings)
    training, waiting = store.create_runs([LONG, SHORT])
    with worker(settings) as process:
        wait_for(lambda: store.run(training.id).epoch, 60)
        store.redis.config_set("maxmemory", 1)
        before = store.run(training.id).epoch
        time.sleep(5)
        assert store.run(training.id).epoch <= before + 1
        store.redis.config_set("maxmemory", 0)
        wait_for(lambda: store.run(training.id).epoch > before + 5, 30)
        assert process.is_running()
        # A cancel whose message to the worker was lost with the connection.
        store.redis.hset(store.key("run", training.id), "cancelling", 1)
        wait_for(lambda: store.run(training.id).state is State.cancelled, 20)
        wait_for(lambda: store.run(waiting.id).state is State.completed, 60)
    assert [run.attempt for run in store.runs()] == [1, 1]
    assert losses(store, training.id) == []
    assert [record.epoch for record in store.epochs([training.id])[0]] == list(
        range(1, store.run(training.id).epoch + 1)
    )
    assert "the database is full" in capfd.readouterr().err


CANNOT_TELL_ITS_DEVICE = """
import sys
if "-c" in sys.orig_argv and "cct.device" in sys.orig_argv[-1]:
    sys.exit("no device answers")
"""
"""For Python's start."""


@pytest.mark.timeout(120)
def test_a_worker_that_cannot_keep_house_hands_back_its_run_and_ends(
    settings: Settings,
    store: RunStore,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "sitecustomize.py").write_text(CANNOT_TELL_ITS_DEVICE)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    [run] = store.create_runs([LONG])
    wake_workers(create_queue(settings), 1)
    with worker(settings) as process:
        assert process.wait(60) == 1
    assert "the worker ends, as it cannot go on with its duties" in (told := capfd.readouterr().err)
    assert "no device answers" in told
    assert store.run(run.id).state is State.queued
    assert losses(store, run.id) == []


def test_what_cannot_be_delivered_ends_the_trainer() -> None:
    """Instead of a process that waits for ever to have delivered it."""
    code = """
from app.queue import create_queue, wake_workers
from app.settings import Settings
from app.store.run_store import RunStore
from worker.outbox import Outbox
outbox = Outbox(store := RunStore(Settings()), store.lease("run", "token"))
outbox.record("no record")
outbox.drain(lambda: False)
"""
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=30)
    assert (ended.returncode, ended.stderr.splitlines()[-1]) == (
        1,
        "AttributeError: 'str' object has no attribute 'epoch'",
    )


def test_a_trainer_that_cannot_be_started_is_told_of_at_once(
    settings: Settings, store: RunStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not when the lease has expired, as that of a worker that fell silent."""
    [run] = store.create_runs([SHORT])
    monkeypatch.setattr(tempfile, "tempdir", str(settings.data / "full"))
    for _ in range(MAX_LOSSES):
        Supervisor(settings, store, "w").train_next()
    failed = store.run(run.id)
    assert failed.state is State.failed
    assert failed.error is not None
    assert "the trainer could not be started and watched ([Errno 2] No such file or directory" in failed.error
