"""Real parts for every test: one Valkey server, and where a test asks for it the whole board with one worker."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import httpx2 as httpx
import pytest
import uvicorn
from fastapi import FastAPI
from fastapi.testclient import TestClient
from pydantic import RedisDsn

from app.cli.board import running
from app.cli.database import start_valkey
from app.cli.services import Services, free_port
from app.settings import Settings
from app.store.lease import Lease
from app.store.run_store import RunStore
from app.web.main import create_app

# Before torch is imported. Trainings at the same time, with a thread per core each, would mostly wait for one another.
os.environ.setdefault("OMP_NUM_THREADS", "1")
# A shell starts what it runs in the background with Ctrl-C ignored, and whatever tests start would inherit that.
signal.signal(signal.SIGINT, signal.default_int_handler)
# The tests' own calls to the boards that they start.
os.environ["no_proxy"] = f"localhost,127.0.0.1,{os.environ.get('no_proxy', os.environ.get('NO_PROXY', ''))}"

DIGITS: dict[str, Any] = {
    "model": "cvt_2_4_32",
    "kernel_size": 8,
    "dataset": "digits",
    "augmentation": "none",
    "warmup_epochs": 0,
}
"""A spec that trains in a second, as its images are 16 patches without convolutions; tests add epochs."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The first file of each folder, then the second of each: in parallel, tests that wait for workers and browsers run
    beside those that compute, and none of the long ones is left for the end."""
    places: dict[Path, dict[Path, int]] = {}
    for item in items:
        files = places.setdefault(item.path.parent, {})
        files.setdefault(item.path, len(files))
    items.sort(key=lambda item: places[item.path.parent][item.path])


def wait_for(condition: Callable[[], object], seconds: float = 60) -> None:
    """Polls until the condition holds; fails the test if it does not in time."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "timed out"
        time.sleep(0.05)


@pytest.fixture(scope="session")
def redis_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """An empty Valkey server."""
    data = tmp_path_factory.mktemp("valkey")
    services = Services(data)
    try:
        yield start_valkey(services, data)
    finally:
        services.stop()


@pytest.fixture
def settings(redis_url: str, tmp_path: Path) -> Settings:
    hosts = ["testserver", "127.0.0.1", "localhost"]
    return Settings(redis_url=RedisDsn(redis_url), data=tmp_path, allowed_hosts=hosts)


@pytest.fixture
def store(settings: Settings) -> RunStore:
    """A store over an empty database."""
    store = RunStore(settings)
    store.redis.flushdb()
    return store


@pytest.fixture
def client(settings: Settings, store: RunStore) -> Iterator[TestClient]:
    """The API without pages and without workers."""
    with TestClient(create_app(settings, store, dashboard=None)) as client:
        yield client


@contextmanager
def serving(app: FastAPI, port: int) -> Iterator[str]:
    """The application on a port, as users reach it; its address."""
    config = uvicorn.Config(app, port=port, log_level="warning", timeout_graceful_shutdown=1)
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run)
    thread.start()
    wait_for(lambda: server.started, 20)
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        server.should_exit = True
        thread.join()


@pytest.fixture
def server(settings: Settings, store: RunStore) -> Iterator[str]:
    """The API without pages and without workers, on a port of its own; its address."""
    with serving(create_app(settings, store, dashboard=None), free_port()) as url:
        yield url


def stored_events(store: RunStore) -> list[tuple[str, dict[str, str]]]:
    """Id and fields of all events of the store, oldest first."""
    return cast(list[tuple[str, dict[str, str]]], store.redis.xrange(store.key("events")))


@pytest.fixture
def claim(store: RunStore) -> Callable[[], Lease]:
    def claim() -> Lease:
        lease = store.claim("test-worker")
        assert lease is not None, "the queue is empty"
        return lease

    return claim


@contextmanager
def whole_board(data: Path) -> Iterator[httpx.Client]:
    """The whole product: database, API with the built dashboard, and one worker."""
    port = free_port()
    with (
        running(data, "127.0.0.1", port, workers=1, redis_url=None),
        httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=30) as client,
    ):
        yield client


@pytest.fixture(scope="session")
def board_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The data folder of `board`."""
    return tmp_path_factory.mktemp("board")


@pytest.fixture(scope="session")
def board(board_data: Path) -> Iterator[httpx.Client]:
    """One whole board for the tests of a session."""
    with whole_board(board_data) as client:
        yield client


@pytest.fixture
def empty_board(tmp_path: Path) -> Iterator[httpx.Client]:
    """A whole board of the test's own, without any run."""
    with whole_board(tmp_path) as client:
        yield client


def fresh_interpreter(code: str) -> str:
    """What the code prints in a new Python process."""
    return subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout
