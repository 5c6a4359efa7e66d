"""`cctboard up`: database, API and workers as child processes of one command."""

import os
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import httpx2 as httpx
import redis
from pydantic import RedisDsn

from app.cli.data_folder import BOARD, FolderRefused, StopAsked, opened, usable
from app.cli.database import start_valkey
from app.cli.services import ServiceFailed, Services, check_port
from app.proxies import DIRECT
from app.settings import Settings
from app.store.board import OtherFolder, check_folder
from app.store.run_store import RunStore

DATABASE_SECONDS = 10.0
"""How long a database that the settings name may take to answer, as it may be starting too."""


@contextmanager
def running(
    data: Path, host: str, port: int, workers: int, redis_url: str | None, stop_asked: threading.Event | None = None
) -> Iterator[Services]:
    """The whole board on this machine, ready for requests; stopped when the context ends.

    Without `redis_url` an embedded Valkey keeps its data in `data/valkey`, written to disk before each reply, and the
    folder is this board's alone. Raises `FolderRefused`, `ServiceFailed`, and `StopAsked` once `stop_asked` is set.
    """
    data, stop_asked = data.resolve(), stop_asked or threading.Event()
    with ExitStack() as stack:
        lock = None
        if redis_url is None:
            lock = stack.enter_context(opened(data, BOARD, stop_asked))
        else:
            _wait_for_database(redis_url, stop_asked)
        check_port(host, port)  # after the end of what was left of a board that was killed
        with usable(data):
            services = Services(data, lock, stop_asked)
            stack.callback(services.stop)
            services.redis_url = redis_url or start_valkey(services, data)
            if redis_url is None:
                try:
                    check_folder(RunStore(Settings(redis_url=RedisDsn(services.redis_url))), data, is_within=True)
                except OtherFolder as error:
                    raise FolderRefused(str(error)) from error
            _start(services, data, host, port, workers)
        services.keep_alive()
        yield services


def _start(services: Services, data: Path, host: str, port: int, workers: int) -> None:
    environment = {"CCTBOARD_DATA": str(data), "CCTBOARD_REDIS_URL": services.redis_url, "PYTHONUNBUFFERED": "1"}
    me = [sys.executable, "-m", "app.cli"]
    services.start("api", [*me, "api", "--host", host, "--port", str(port)], environment)
    if workers > 1 and "OMP_NUM_THREADS" not in os.environ:
        environment["OMP_NUM_THREADS"] = str(max(1, (os.cpu_count() or 1) // workers))
    for number in range(1, workers + 1):
        services.start(f"worker-{number}", [*me, "worker"], environment)
    with httpx.Client(base_url=f"http://{host}:{port}", mounts=DIRECT) as client:
        services.wait(lambda: client.get("/readyz").is_success, httpx.TransportError)


def _wait_for_database(url: str, stop_asked: threading.Event) -> None:
    deadline = time.monotonic() + DATABASE_SECONDS
    with redis.Redis.from_url(url, socket_connect_timeout=3, socket_timeout=5) as client:
        while True:
            try:
                client.ping()
                return
            except redis.RedisError as error:
                if isinstance(error, redis.AuthenticationError) or time.monotonic() > deadline:
                    raise ServiceFailed(
                        f"the database that CCTBOARD_REDIS_URL names does not answer: {error}"
                    ) from error
            if stop_asked.wait(0.2):
                raise StopAsked
