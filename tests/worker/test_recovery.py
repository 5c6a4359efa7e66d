"""Workers that stop, vanish and come back: each run is finished and each epoch recorded once."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import httpx2 as httpx
import psutil
import pytest
from pydantic import RedisDsn

from app.cli.board import running
from app.cli.services import free_port
from app.queue import QUEUE, create_queue, wake_workers
from app.settings import Settings
from app.store.rows import State
from app.store.run_store import RunStore
from cct.spec import RunSpec
from tests.conftest import wait_for
from tests.worker.conftest import LONG, QUICK, claimed, trainer, trainer_of
from worker.supervisor import Exit, Supervisor


@contextmanager
def up(data: Path, port: int) -> Iterator[subprocess.Popen[bytes]]:
    """`cctboard up` as a user starts it."""
    command = [sys.executable, "-m", "app.cli", "up", "--data", str(data), "--port", str(port)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, start_new_session=True) as process:
        try:
            yield process
        finally:
            process.terminate()


def processes_using(data: Path) -> list[int]:
    """Processes that were told of this data folder."""
    found = []
    for number in filter(str.isdecimal, os.listdir("/proc")):
        with suppress(OSError):
            environment = Path(f"/proc/{number}/environ").read_bytes()
            if f"CCTBOARD_DATA={data}\0".encode() in environment:
                found.append(int(number))
    return found


@pytest.mark.timeout(240)
def test_ctrl_c_stops_every_process_and_a_new_start_continues(tmp_path: Path) -> None:
    port = free_port()
    with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=30) as client:

        def run() -> dict[str, object]:
            with suppress(httpx.TransportError):
                return dict(client.get(f"/runs/{run_id}").json())
            return {"epoch": 0, "state": None}

        def answers() -> bool:
            with suppress(httpx.TransportError):
                return client.get("/healthz").is_success
            return False

        with up(tmp_path, port) as board:
            wait_for(answers, 60)
            run_id = client.post("/runs", json=QUICK | {"epochs": 12}).json()["id"]
            wait_for(lambda: run()["epoch"], 60)
            assert processes_using(tmp_path)
            asked = time.monotonic()
            board.send_signal(signal.SIGINT)
            assert board.wait(30) == 0
            assert time.monotonic() - asked < 20
            assert processes_using(tmp_path) == []
        with up(tmp_path, port):
            wait_for(lambda: run()["state"] == "completed", 150)
            assert run()["attempt"] == 2
            assert [record["epoch"] for record in client.get(f"/runs/{run_id}/epochs").json()] == list(range(1, 13))


def test_a_killed_worker_loses_its_run_to_another(settings: Settings, store: RunStore) -> None:
    """The trainer that outlives its worker cannot write any more; the next one continues from the checkpoint."""
    quick = settings.model_copy(update={"lease_seconds": 1.0})
    store = RunStore(quick)
    [run] = store.create_runs([RunSpec(**QUICK, epochs=2)])
    with trainer(settings, claimed(store)) as orphan:
        wait_for(lambda: store.run(run.id).epoch == 1 and store.expire_leases() == 1, 90)
        assert store.run(run.id).state is State.queued
        assert orphan.wait(60) == Exit.LEASE_LOST, "it noticed that its lease is gone"
    assert store.run(run.id).epoch == 1
    with trainer(settings, again := claimed(store)) as successor:
        assert successor.wait(60) == Exit.COMPLETED
    again.release(State.completed)
    done = store.run(run.id)
    assert (done.state, done.attempt, done.epoch) == (State.completed, 2, 2)
    assert [record.epoch for record in store.epochs([run.id])[0]] == [1, 2]


def test_repeated_and_lost_messages_do_no_harm(tmp_path: Path) -> None:
    """Each run is trained once however many messages there are, and the workers' sweep replaces lost ones."""
    with running(tmp_path, "127.0.0.1", free_port(), workers=1, redis_url=None) as services:
        settings = Settings(redis_url=RedisDsn(services.redis_url), data=tmp_path)
        store, queue = RunStore(settings), create_queue(settings)
        specs = [RunSpec(**QUICK, epochs=1, seed=seed) for seed in (0, 1)]
        [repeated] = store.create_runs(specs[:1])
        wake_workers(queue, 5)
        wait_for(lambda: store.run(repeated.id).state is State.completed, 90)
        wait_for(lambda: store.redis.llen(QUEUE) == 0, 10)
        [lost] = store.create_runs(specs[1:])
        wait_for(lambda: store.run(lost.id).state is State.completed, 90)
        assert [run.attempt for run in store.runs()] == [1, 1]


@pytest.mark.timeout(240)
def test_a_trainer_that_makes_no_step_is_killed_and_the_run_tried_again(
    settings: Settings, store: RunStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CCTBOARD_REDIS_URL", str(settings.redis_url))
    monkeypatch.setenv("CCTBOARD_DATA", str(settings.data))
    supervisor = Supervisor(settings.model_copy(update={"stall_seconds": 20.0}), store, "w")
    [run] = store.create_runs([RunSpec(**QUICK, epochs=40, batch_size=16)])
    training = threading.Thread(target=supervisor.train_next)
    training.start()
    wait_for(lambda: store.run(run.id).epoch, 60)
    frozen = trainer_of(psutil.Process(), run.id)
    frozen.suspend()
    training.join(60)
    assert not frozen.is_running()
    assert store.run(run.id).state is State.queued
    assert [entry.detail for entry in store.history(run.id) if entry.what == "lost"] == [
        "training made no step for 20 s"
    ]
    supervisor.train_next()
    assert store.run(run.id).state is State.completed


NOTHING_CAN_BE_RECORDED = """
import sys
if "worker.trainer" in sys.orig_argv:
    import cct.recording, cct.training
    train = cct.training.train
    def refuse(spec, may_record, **options):
        if may_record:
            raise cct.recording.RecordingFailed("a training step cannot be recorded")
        return train(spec, **options)
    cct.training.train = refuse
"""
"""For Python's start, as the one thing that needs a GPU. The rest is real."""


@pytest.mark.parametrize(("chosen", "state"), [("auto", State.completed), ("graph", State.failed)])
def test_a_run_that_did_not_ask_for_recorded_steps_goes_on_without(
    settings: Settings, store: RunStore, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, chosen: str, state: State
) -> None:
    (tmp_path / "sitecustomize.py").write_text(NOTHING_CAN_BE_RECORDED)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setenv("CCTBOARD_REDIS_URL", str(settings.redis_url))
    monkeypatch.setenv("CCTBOARD_DATA", str(settings.data))
    [run] = store.create_runs([RunSpec(**QUICK, epochs=2, compile=chosen)])
    Supervisor(settings, store, "w").train_next()
    ended = store.run(run.id)
    assert (ended.state, ended.attempt) == (state, 1)
    assert ended.error == (None if state is State.completed else "a training step cannot be recorded")
    goes_on = "compile: the run goes on without recorded steps, in another process"
    assert (goes_on in [line.text for line in store.log(run.id)]) == (state is State.completed)


def test_a_trainer_ends_with_its_supervisor(settings: Settings, store: RunStore) -> None:
    [run] = store.create_runs([LONG])
    with trainer(settings, claimed(store)) as process:
        wait_for(lambda: store.run(run.id).epoch, 60)
        process.stdin.close()
        assert process.wait(10) == Exit.ORPHANED
