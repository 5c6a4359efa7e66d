"""Random faults: whatever is killed, frozen or sent twice, every accepted run is completed, each epoch recorded once,
and records and weights equal those of an undisturbed run bit for bit.

`make chaos` is the long form: CHAOS_FAULTS=100.
"""

import os
import random
import time
import uuid
from collections import Counter, defaultdict
from contextlib import suppress
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

from app.cli.board import running
from app.cli.services import Services, free_port
from app.queue import create_queue, wake_workers
from app.settings import Settings
from app.store.lease import MAX_LOSSES
from app.store.rows import State
from app.store.run_store import RunStore
from cct.checkpoint import LAST
from cct.events import EpochRecord
from cct.spec import RunSpec
from cct.training import train
from tests.cct.told import only
from tests.conftest import wait_for

FAULTS = int(os.environ.get("CHAOS_FAULTS", "7"))
SEED = int(os.environ.get("CHAOS_SEED", "0"))
LEASE_SECONDS = 3.0
TIMED = ("seconds", "images_per_second", "peak_memory_bytes")
"""What two trainings of one spec may differ in."""
SPECS: list[dict[str, Any]] = [
    {"dataset": "digits", "epochs": 4, "batch_size": 64, "warmup_epochs": 1, "augmentation": "crop", "pooling": pooling}
    for pooling in ("seqpool", "class_token")
]


class Chaos:
    """One fault at a time, at a random instant, in a random part of the board."""

    def __init__(self, services: Services, store: RunStore, queue: Celery) -> None:
        self._services, self._store, self._queue = services, store, queue
        self._random = random.Random(SEED)
        # Each kind once before any comes again.
        self._next: list[str] = []
        self._spared_until = defaultdict[str, float](float)

    def strike(self) -> str:
        if not self._next:
            self._next = [
                "kill_worker",
                "kill_trainer",
                "freeze",
                "kill_valkey",
                "kill_api",
                "duplicate",
                "kill_worker",
            ]
            self._random.shuffle(self._next)
        time.sleep(self._random.uniform(0.5, 4))
        fault = self._next.pop()
        with suppress(psutil.NoSuchProcess, RedisError):
            getattr(self, fault)()
        return fault

    def _process(self, name: str) -> psutil.Process:
        return psutil.Process(self._services.process_id(name))

    def _worker(self) -> psutil.Process:
        """One that trains, if possible; waits while one more loss would rightly fail the runs of all.

        A loss is counted when the lease expires, so a run is left alone for a while after it was struck.
        """
        while True:
            running = {
                str(run.worker).rpartition("-")[2]: run.id for run in self._store.runs() if run.state == "running"
            }
            idle, training = list[psutil.Process](), list[psutil.Process]()
            for process in (self._process("worker-1"), self._process("worker-2")):
                run_id = running.get(str(process.pid))
                if run_id is None:
                    idle.append(process)
                elif time.monotonic() > self._spared_until[run_id] and self._losses(run_id) < MAX_LOSSES - 1:
                    training.append(process)
            if training or idle:
                struck = self._random.choice(training or idle)
                self._spared_until[running.get(str(struck.pid), "")] = time.monotonic() + 3 * LEASE_SECONDS
                return struck
            time.sleep(0.2)

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
        frozen = self._random.sample(both, self._random.randint(1, len(both)))
        for process in frozen:
            process.suspend()
        time.sleep(2 * LEASE_SECONDS)
        for process in frozen:
            with suppress(psutil.NoSuchProcess):
                process.resume()

    def kill_valkey(self) -> None:
        self._process("valkey").kill()

    def kill_api(self) -> None:
        self._process("api").kill()

    def duplicate(self) -> None:
        wake_workers(self._queue, 5)


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
    monkeypatch.setenv("OMP_NUM_THREADS", str(torch.get_num_threads()))  # as undisturbed: bits depend on it
    port = free_port()
    with (
        running(tmp_path, "127.0.0.1", port, workers=2, redis_url=None) as services,
        httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=30) as client,
    ):
        settings = Settings(redis_url=RedisDsn(services.redis_url), data=tmp_path)
        store, queue = RunStore(settings), create_queue(settings)
        accepted: list[str] = []

        def keep_busy() -> None:
            with suppress(RedisError):
                while sum(run.state in (State.queued, State.running) for run in store.runs()) < 3:
                    accepted.append(accepted_run(client, SPECS[len(accepted) % len(SPECS)]))

        keep_busy()
        wait_for(lambda: len([run for run in store.runs() if run.state is State.running]) == 2)
        chaos, faults = Chaos(services, store, queue), Counter[str]()
        while faults.total() < FAULTS:
            faults[chaos.strike()] += 1
            keep_busy()

        def all_ended() -> bool:
            with suppress(RedisError):
                return all(run.state not in (State.queued, State.running) for run in store.runs())
            return False

        wait_for(all_ended, 240)
        services.check()
        runs = store.runs_by_id(accepted)
        print(
            f"{faults.total()} faults ({dict(faults)}), {len(runs)} runs, {sum(run.attempt for run in runs)} attempts"
        )
        for run in runs:
            told = [(entry.what, entry.detail) for entry in store.history(run.id)]
            assert run.state is State.completed, (run.error, told)
            records, weights = undisturbed[run.spec.pooling]
            assert [comparable(record) for record in store.epochs([run.id])[0]] == [comparable(r) for r in records], (
                told
            )
            ours = torch.load(settings.checkpoints(run.id) / LAST, weights_only=True)["model"]
            assert all(torch.equal(ours[name], weights[name]) for name in weights), told
