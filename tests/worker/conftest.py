"""Workers and trainers as they are started for real."""

import os
import subprocess
import sys
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
from tests.conftest import DIGITS

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
    command = [sys.executable, "-m", "worker.trainer", lease.run_id, lease.token, str(settings.data / "alive")]
    with psutil.Popen(command, env=environment(settings), stdin=subprocess.PIPE) as process:
        try:
            yield process
        finally:
            with suppress(psutil.NoSuchProcess):
                process.kill()


def claimed(store: RunStore) -> Lease:
    lease = store.claim("test-worker")
    assert lease is not None, "the queue is empty"
    return lease
