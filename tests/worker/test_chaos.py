"""Random faults: whatever is killed, frozen, full or sent twice, every accepted run is completed, each epoch recorded
once, and records and weights equal those of an undisturbed run bit for bit.

`make chaos` is the long form: CHAOS_FAULTS=100.
"""

import math
import os
import random
import signal
import subprocess
import sys
import time
import uuid
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

import httpx2 as httpx
import psutil
import pytest
import torch
from celery import Celery
from pydantic import RedisDsn
from redis.exceptions import RedisError

from app.cli.database import running_database
from app.cli.services import free_port
from app.queue import create_queue, wake_workers
from app.settings import Settings
from app.store.lease import MAX_LOSSES
from app.store.rows import Run, State
from app.store.run_store import RunStore
from cct.checkpoint import LAST
from cct.events import EpochRecord
from cct.spec import RunSpec
from cct.training import train
from tests.cct.told import only
from tests.conftest import DIGITS, wait_for

FAULTS = int(os.environ.get("CHAOS_FAULTS", "2"))
SEED = int(os.environ.get("CHAOS_SEED", "110"))
"""The short form's faults are the ones that have no shorter test of their own."""
LEASE_SECONDS = 3.0
STALL_SECONDS = 25.0
"""More than a trainer takes to start on a busy machine and to be frozen meanwhile, or a run is rightly lost."""
TIMED = ("seconds", "images_per_second", "peak_memory_bytes")
"""What two trainings of one spec may differ in."""
SPECS: list[dict[str, Any]] = [
    DIGITS | {"epochs": 4, "batch_size": 64, "augmentation": "crop", "pooling": pooling}
    for pooling in ("seqpool", "class_token")
]


class Board:
    """`cctboard up` as a user starts it, and its processes."""

    def __init__(self, data: Path, port: int) -> None:
        self._ready = f"http://127.0.0.1:{port}/readyz"
        self._command = [sys.executable, "-m", "app.cli", "up", "--data", str(data), "--port", str(port)]
        self._command += ["--workers", "2"]
        self.start()

    def start(self) -> None:
        self._up = psutil.Popen(self._command, start_new_session=True, stdout=subprocess.DEVNULL)
        # Before that, a process that ends is a start that has failed.
        wait_for(self._is_ready, 90)

    def _is_ready(self) -> bool:
        assert self._up.poll() is None
        with suppress(httpx.TransportError):
            return httpx.get(self._ready).is_success
        return False

    def all(self) -> list[psutil.Process]:
        return [self._up, *self._up.children(recursive=True)]

    def workers(self) -> list[psutil.Process]:
        return self._called("worker.tasks")

    def valkey(self) -> psutil.Process:
        return self._called("valkey-server")[0]

    def api(self) -> psutil.Process:
        return self._called("api")[0]

    def _called(self, word: str) -> list[psutil.Process]:
        """Those of `up`'s own children that have the word in their command; one may be about to be started again."""
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            found = []
            for process in self._up.children():
                with suppress(psutil.NoSuchProcess):
                    if word in (process.name(), *(Path(part).name for part in process.cmdline())):
                        found.append(process)
            if found:
                return found
            time.sleep(0.1)
        raise AssertionError(f"there is no {word}")

    def hang_up(self) -> None:
        """As when its terminal is closed; nothing of it is left."""
        processes = self.all()
        self._up.send_signal(signal.SIGHUP)
        self._up.wait(60)
        assert psutil.wait_procs(processes, 5)[1] == []

    def stop(self) -> None:
        self._up.terminate()
        self._up.wait(60)


class Chaos:
    """One fault at a time, at a random instant, in a random part of the board."""

    def __init__(self, board: Board, store: RunStore, queue: Celery, client: httpx.Client) -> None:
        self._board, self._store, self._queue, self._client = board, store, queue, client
        self._random = random.Random(SEED)
        # Each kind once before any comes again.
        self._next: list[str] = []
        self._struck: dict[str, tuple[int, float]] = {}
        """By run: in which attempt it was struck, and when."""

    def strike(self) -> str:
        if not self._next:
            self._next = [
                "kill_worker",
                "kill_trainer",
                "freeze",
                "freeze_past_newer_checkpoints",
                "freeze_all",
                "kill_valkey",
                "fill_valkey",
                "kill_api",
                "duplicate",
                "cancel_in_an_outage",
                "hang_up",
                "kill_worker",
            ]
            self._random.shuffle(self._next)
        time.sleep(self._random.uniform(0.5, 4))
        fault = self._next.pop()
        with suppress(psutil.NoSuchProcess, RedisError):
            getattr(self, fault)()
        return fault

    def _worker(self) -> psutil.Process:
        """One that trains, if possible; waits while one more loss would rightly fail the runs of all.

        A loss is counted when the lease expires, so a run is left alone for a while after it was struck: until its next
        attempt has begun, which on a busy machine takes longer than a lease.
        """
        while True:
            running = {str(run.worker).rpartition("-")[2]: run for run in self._store.runs() if run.state == "running"}
            idle, training = list[psutil.Process](), list[psutil.Process]()
            for process in self._board.workers():
                run = running.get(str(process.pid))
                if run is None:
                    idle.append(process)
                elif not self._is_spared(run) and self._losses(run.id) < MAX_LOSSES - 1:
                    training.append(process)
            if training or idle:
                struck = self._random.choice(training or idle)
                if run := running.get(str(struck.pid)):
                    self._struck[run.id] = run.attempt, time.monotonic()
                return struck
            time.sleep(0.2)

    def _is_spared(self, run: Run) -> bool:
        attempt, since = self._struck.get(run.id, (0, -math.inf))
        waited = time.monotonic() - since
        return waited < 3 * LEASE_SECONDS or (run.attempt == attempt and waited < 15 * LEASE_SECONDS)

    def _losses(self, run_id: str) -> int:
        return int(self._store.redis.hget(self._store.key("run", run_id), "losses") or 0)

    def kill_worker(self) -> None:
        self._worker().kill()

    def kill_trainer(self) -> None:
        """As the system does when memory runs out."""
        for trainer in self._worker().children():
            trainer.kill()

    def freeze(self) -> None:
        """Worker and trainer, or one of them, pause for longer than a lease and go on as if nothing had happened."""
        worker = self._worker()
        both = [worker, *worker.children(recursive=True)]
        with frozen(self._random.sample(both, self._random.randint(1, len(both)))):
            time.sleep(2 * LEASE_SECONDS)

    def freeze_past_newer_checkpoints(self) -> None:
        """The run goes on elsewhere; then its old trainer does too, and cannot learn that the run is not its own."""
        worker = self._worker()
        trained = (run for run in self._store.runs() if str(run.worker).endswith(f"-{worker.pid}"))
        run = next(trained, None)
        if run is None:
            return  # it trains nothing just now
        with frozen([self._board.valkey()]) if self._wait_for_another(run, worker) else nullcontext():
            time.sleep(3)

    def _wait_for_another(self, run: Run, worker: psutil.Process) -> bool:
        """Whether the run has gone on elsewhere while its worker and trainer were frozen."""
        with frozen([worker, *worker.children(recursive=True)]):
            deadline = time.monotonic() + 30
            while time.monotonic() < deadline:
                now = self._store.run(run.id)
                if now.attempt > run.attempt and now.epoch > run.epoch:
                    return True
                time.sleep(0.2)
        return False

    def freeze_all(self) -> None:
        """A laptop is closed, for longer than a lease and than a trainer may be silent."""
        with frozen(self._board.all()):
            time.sleep(STALL_SECONDS + 1)

    def kill_valkey(self) -> None:
        self._board.valkey().kill()

    def fill_valkey(self) -> None:
        self._store.redis.config_set("maxmemory", 1)
        time.sleep(self._random.uniform(1, 2 * LEASE_SECONDS))
        self._store.redis.config_set("maxmemory", 0)

    def kill_api(self) -> None:
        self._board.api().kill()

    def duplicate(self) -> None:
        wake_workers(self._queue, 5)

    def cancel_in_an_outage(self) -> None:
        """What was answered is done, though the database ends at once; then the run is taken up again."""
        run = next((run for run in self._store.runs() if run.state is State.running), None)
        if run is None:
            return
        self._ask(run, "cancel")
        self._board.valkey().kill()
        wait_for(lambda: self._has_ended(run), 60)
        if self._store.run(run.id).state is State.cancelled:
            self._ask(run, "retry")

    def _ask(self, run: Run, what: str) -> None:
        """Until it is answered; 409: it was done already, and the answer lost, or the run has just ended."""
        while True:
            with suppress(httpx.TransportError):
                answer = self._client.post(f"/runs/{run.id}/{what}")
                if answer.status_code != 503:
                    assert answer.status_code in (200, 409), answer.text
                    return
            time.sleep(0.2)

    def _has_ended(self, run: Run) -> bool:
        with suppress(RedisError):
            return self._store.run(run.id).state not in (State.queued, State.running)
        return False

    def hang_up(self) -> None:
        self._board.hang_up()
        self._board.start()


@contextmanager
def frozen(processes: list[psutil.Process]) -> Iterator[None]:
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            process.suspend()
    try:
        yield
    finally:
        for process in processes:
            with suppress(psutil.NoSuchProcess):
                process.resume()


def accepted_run(client: httpx.Client, spec: dict[str, Any]) -> str:
    """Repeats the request, as clients do, until it is answered."""
    key = uuid.uuid4().hex
    while True:
        with suppress(httpx.TransportError):
            answer = client.post("/runs", json=spec, headers={"Idempotency-Key": key})
            if answer.status_code == 201:
                return str(answer.json()["id"])
            assert answer.status_code == 503, answer.text
        time.sleep(0.2)


def comparable(record: Any) -> dict[str, Any]:
    return {name: value for name, value in asdict(record).items() if name not in TIMED}


@pytest.mark.timeout(300 + 30 * FAULTS)
def test_runs_survive_everything(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    undisturbed = {}
    for spec in SPECS:
        folder = tmp_path / "undisturbed" / spec["pooling"]
        records = only(EpochRecord, train(RunSpec(**spec), data_dir=tmp_path, checkpoint_dir=folder))
        undisturbed[spec["pooling"]] = records, torch.load(folder / LAST, weights_only=True)["model"]

    monkeypatch.setenv("CCTBOARD_LEASE_SECONDS", str(LEASE_SECONDS))
    monkeypatch.setenv("CCTBOARD_STALL_SECONDS", str(STALL_SECONDS))
    monkeypatch.setenv("OMP_NUM_THREADS", str(torch.get_num_threads()))  # as undisturbed: bits depend on it
    port = free_port()
    board = Board(tmp_path, port)
    url = running_database(tmp_path)
    assert url is not None
    settings = Settings(redis_url=RedisDsn(url), data=tmp_path)
    store, queue = RunStore(settings), create_queue(settings)
    accepted: list[str] = []
    with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=30) as client:

        def keep_busy() -> None:
            with suppress(RedisError):
                while sum(run.state in (State.queued, State.running) for run in store.runs()) < 3:
                    accepted.append(accepted_run(client, SPECS[len(accepted) % len(SPECS)]))

        def all_ended() -> bool:
            with suppress(RedisError):
                return all(run.state not in (State.queued, State.running) for run in store.runs())
            return False

        try:
            keep_busy()
            wait_for(lambda: len([run for run in store.runs() if run.state is State.running]) == 2)
            chaos, faults = Chaos(board, store, queue, client), Counter[str]()
            while faults.total() < FAULTS:
                faults[chaos.strike()] += 1
                keep_busy()
            wait_for(all_ended, 240)
            runs = store.runs_by_id(accepted)
            print(
                f"{faults.total()} faults ({dict(faults)}), {len(runs)} runs, {sum(r.attempt for r in runs)} attempts"
            )
            for run in runs:
                told = [(entry.what, entry.detail) for entry in store.history(run.id)]
                assert run.state is State.completed, (run.error, told)
                assert [what for what, _ in told].count("completed") == 1, told
                records, weights = undisturbed[run.spec.pooling]
                measured = [comparable(record) for record in store.epochs([run.id])[0]]
                assert measured == [comparable(record) for record in records], told
                ours = torch.load(settings.checkpoints(run.id) / LAST, weights_only=True)["model"]
                assert all(torch.equal(ours[name], weights[name]) for name in weights), told
        finally:
            board.stop()
