"""The database goes away while a run is trained: training goes on, the API says so, nothing is lost."""

import functools
import json
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import httpx2 as httpx
import psutil
import pytest
import torch
from pydantic import RedisDsn
from redis.exceptions import RedisError

from app.cli.database import start_valkey
from app.cli.services import ServiceFailed, Services, free_port
from app.settings import Settings
from app.store.rows import State
from app.store.run_store import RunStore
from cct.checkpoint import LAST
from cct.spec import RunSpec
from tests.conftest import wait_for
from tests.worker.conftest import QUICK

LEASE_SECONDS = 3
OUTAGE_SECONDS = float(os.environ.get("OUTAGE_SECONDS", "7"))

EPOCHS = 40


@contextmanager
def gone(services: Services, data: Path) -> Iterator[None]:
    """Connections are refused."""
    os.kill(services.process_id("valkey"), signal.SIGKILL)
    with pytest.raises(ServiceFailed, match="valkey ended"):
        wait_for(services.check, 10)
    yield
    start_valkey(services, data)


@contextmanager
def frozen(services: Services, data: Path) -> Iterator[None]:
    """Connections stand, but nothing answers."""
    valkey = psutil.Process(services.process_id("valkey"))
    valkey.suspend()
    yield
    valkey.resume()


OUTAGES: tuple[Callable[[Services, Path], AbstractContextManager[None]], ...] = (gone, frozen)


def wait_for_count(seen: list[str], count: int) -> None:
    wait_for(lambda: len(seen) == count, 30)


def follow_database_events(url: str, seen: list[str]) -> None:
    with httpx.stream("GET", f"{url}/events", timeout=None) as stream:
        kind = ""
        for line in stream.iter_lines():
            if line.startswith("event: "):
                kind = line.removeprefix("event: ")
            elif line.startswith("data: ") and kind == "database":
                seen.append(line.removeprefix("data: "))
                if len(seen) == 2 * len(OUTAGES):
                    return


@pytest.mark.timeout(360)
def test_training_outlives_outages_of_the_database(tmp_path: Path) -> None:
    services = Services(tmp_path)
    try:
        url, port = start_valkey(services, tmp_path), free_port()
        settings = Settings(redis_url=RedisDsn(url), data=tmp_path)
        store = RunStore(settings)
        environment = {
            "CCTBOARD_DATA": str(tmp_path),
            "CCTBOARD_REDIS_URL": url,
            "CCTBOARD_LEASE_SECONDS": str(LEASE_SECONDS),
        }
        services.start("api", [sys.executable, "-m", "app.cli", "api", "--port", str(port)], environment)
        services.start("worker", [sys.executable, "-m", "app.cli", "worker"], environment)
        [run] = store.create_runs([RunSpec(**QUICK, epochs=EPOCHS)])
        wait_for(lambda: store.run(run.id).epoch, 90)
        board, seen = f"http://127.0.0.1:{port}", list[str]()
        watcher = threading.Thread(target=follow_database_events, args=(board, seen))
        watcher.start()
        checkpoint = settings.checkpoints(run.id) / LAST

        def epochs_trained() -> int:
            return len(torch.load(checkpoint, weights_only=True)["records"])

        def has_trained(epochs: int) -> bool:
            return epochs_trained() >= epochs

        for number, outage in enumerate(OUTAGES):
            with outage(services, tmp_path):
                # A quick machine may have trained them all before the last outage.
                enough, until = min(epochs_trained() + 1, EPOCHS), time.monotonic() + OUTAGE_SECONDS
                answer = httpx.post(f"{board}/runs", json={}, timeout=30)
                assert (answer.status_code, answer.json()["title"]) == (503, "Database unavailable")
                wait_for_count(seen, 2 * number + 1)
                time.sleep(max(0.0, until - time.monotonic()))
                wait_for(functools.partial(has_trained, enough), 60)
            wait_for_count(seen, 2 * number + 2)

        def ended() -> bool:
            try:
                return store.run(run.id).state is not State.running
            except RedisError:
                return False

        wait_for(ended, 180)
        done = store.run(run.id)
        assert (done.state, done.attempt, done.epoch) == (State.completed, 1, EPOCHS)
        assert [record.epoch for record in store.epochs([run.id])[0]] == list(range(1, EPOCHS + 1))
        watcher.join(30)
        assert [json.loads(data) for data in seen] == [{"reachable": False}, {"reachable": True}] * 2
        [after] = store.create_runs([RunSpec(**QUICK, epochs=1)])
        wait_for(lambda: store.run(after.id).state is State.completed, 90)
    finally:
        services.stop()
