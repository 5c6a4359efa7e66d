"""Workers and trainers as they are started for real."""

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psutil
import pytest
from pydantic import RedisDsn

from app.cli.database import start_valkey
from app.cli.services import Services
from app.settings import Settings
from app.store.lease import Lease
from app.store.run_store import RunStore
from cct.spec import RunSpec
from tests.conftest import DIGITS, wait_for

QUICK: dict[str, Any] = DIGITS | {"val_share": 0.9}
"""A spec whose epochs take a second; tests add how many."""
SHORT = RunSpec(**QUICK, epochs=2)
LONG = RunSpec(**QUICK, epochs=1000)


@pytest.fixture
def here(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """Trainers that a supervisor in this process starts find database and folder."""
    monkeypatch.setenv("CCTBOARD_REDIS_URL", str(settings.redis_url))
    monkeypatch.setenv("CCTBOARD_DATA", str(settings.data))


@pytest.fixture
def database(tmp_path: Path) -> Iterator[tuple[Services, Settings]]:
    """A database of the test's own, which may do to it what it likes."""
    services = Services(tmp_path)
    try:
        yield services, Settings(redis_url=RedisDsn(start_valkey(services, tmp_path)), data=tmp_path)
    finally:
        services.stop()


def environment(settings: Settings) -> dict[str, str]:
    return os.environ | {"CCTBOARD_REDIS_URL": str(settings.redis_url), "CCTBOARD_DATA": str(settings.data)}


@contextmanager
def worker(settings: Settings, *arguments: str) -> Iterator[psutil.Popen]:
    """`cctboard worker` as a user starts it."""
    command = [sys.executable, "-m", "app.cli", "worker", *arguments]
    with psutil.Popen(command, env=environment(settings)) as process:
        try:
            yield process
        finally:
            with suppress(psutil.NoSuchProcess):
                process.kill()


@contextmanager
def trainer(settings: Settings, lease: Lease) -> Iterator[psutil.Popen]:
    """A trainer whose supervisor is this process."""
    with tempfile.TemporaryFile() as alive:
        command = [sys.executable, "-m", "worker.trainer", str(alive.fileno())]
        process = psutil.Popen(
            command, env=environment(settings), stdin=subprocess.PIPE, pass_fds=(alive.fileno(),), bufsize=0
        )
    with process:
        process.stdin.write(f"{lease.run_id} {lease.token}".encode())
        try:
            yield process
        finally:
            with suppress(psutil.NoSuchProcess):
                process.kill()


def trainer_of(worker: psutil.Process, run_id: str) -> psutil.Process:
    """The process that trains the run, once it does."""

    def found() -> list[psutil.Process]:
        return [child for child in worker.children() if child.name() == run_id]

    wait_for(found, 30)
    return found()[0]


def claimed(store: RunStore) -> Lease:
    lease = store.claim("test-worker")
    assert lease is not None, "the queue is empty"
    return lease
