"""A board's processes: started, kept running, and ended together, however the command that started them ends."""

import errno
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from app.cli import guard
from app.cli.data_folder import StopAsked

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
        was_short = time.monotonic() - self._started < SHORT_LIFE_SECONDS
        self.start()
        # Counted after the start: another thread that sees the last count sees the last process.
        self.short_lives = self.short_lives + 1 if was_short else 0


class Services:
    """Started in order, stopped in reverse; from `keep_alive` on, one that ends is started again."""

    redis_url: str
    """The database that the services share."""

    def __init__(self, data: Path, lock: int | None = None, stop_asked: threading.Event | None = None) -> None:
        """`lock` is the descriptor that keeps the data folder for as long as a service may run; `stop_asked` is set
        when the user wants the end."""
        self._data, self._logs = data, data / "logs"
        self._logs.mkdir(parents=True, exist_ok=True)
        self._stop_asked = stop_asked or threading.Event()
        self._services: dict[str, _Service] = {}
        self._stopping = threading.Event()
        self._keeper: threading.Thread | None = None
        self._lock = lock
        self._guard: subprocess.Popen[bytes] | None = None

    def start(self, name: str, command: list[str], environment: dict[str, str]) -> None:
        """Starts the service, whose log is `logs/<name>.log`."""
        self._services[name] = _Service(command, environment, self._logs / f"{name}.log")
        self._tell_guard(name)

    def _tell_guard(self, name: str) -> None:
        if self._guard is None:
            self._guard = subprocess.Popen(
                [sys.executable, "-IS", guard.__file__, str(STOP_SECONDS)],
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                pass_fds=() if self._lock is None else (self._lock,),
                start_new_session=True,
            )
        assert self._guard.stdin is not None
        with suppress(BrokenPipeError):  # it has ended; the keeper starts another
            self._guard.stdin.write(f"{name} {self.process_id(name)}\n".encode())
            self._guard.stdin.flush()

    def wait(self, is_ready: Callable[[], object], not_yet: type[Exception]) -> None:
        """Waits until the services are ready. Raises `ServiceFailed`, `StopAsked`."""
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            self.check()
            with suppress(not_yet):
                if is_ready():
                    return
            if self._stop_asked.wait(0.05):
                raise StopAsked
        raise ServiceFailed(f"a service was not ready within {START_SECONDS:.0f} s; see the logs in {self._logs}")

    def check(self) -> None:
        """Raises `ServiceFailed` if a service has ended, once they are kept alive: if one ends again and again."""
        for name, service in self._services.items():
            # Counted first, as the keeper may start it again meanwhile.
            is_final = self._keeper is None or service.short_lives >= MOST_SHORT_LIVES
            if is_final and service.has_ended():
                lines = service.log.read_text(errors="replace").split("\n")
                last = next((f" ({line.strip()})" for line in reversed(lines) if line.strip()), "")
                why = f"the disk of {self._data} is full: make room; " if self._disk_is_full() else ""
                raise ServiceFailed(f"{why}{name} ended{last}; its whole log: {service.log}")

    def keep_alive(self) -> None:
        self._keeper = threading.Thread(target=self._keep_alive, name="keeper")
        self._keeper.start()

    def _keep_alive(self) -> None:
        waiting = False
        while not self._stopping.wait(0.2):
            if self._guard and self._guard.poll() is not None:
                self._guard = None
                for name in self._services:
                    self._tell_guard(name)
            ended = {name: service for name, service in self._services.items() if service.has_ended()}
            if ended and self._disk_is_full():
                if not waiting:
                    message = f"the disk of {self._data} is full: the board goes on as soon as there is room"
                    print(message, file=sys.stderr, flush=True)
                waiting = True
                continue
            waiting = False
            for name, service in ended.items():
                if service.short_lives < MOST_SHORT_LIVES:
                    service.start_again()
                    self._tell_guard(name)

    def _disk_is_full(self) -> bool:
        disk = os.statvfs(self._data)
        blocks = disk.f_bfree if os.geteuid() == 0 else disk.f_bavail  # some are kept for root
        return blocks * disk.f_frsize < ROOM_BYTES

    def has_ended(self, name: str) -> bool:
        return self._services[name].has_ended()

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
            with suppress(ProcessLookupError):
                os.killpg(service.process.pid, signal.SIGKILL)  # what a worker had only just asked another process
        if self._guard:
            self._guard.kill()  # before ids of processes that have ended can mean others
            self._guard.communicate()
            self._guard = None


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def is_free(host: str, port: int) -> bool:
    return _why_not_bound(host, port) is None


def check_port(host: str, port: int) -> None:
    """Raises `ServiceFailed` if the API could not listen there."""
    why = _why_not_bound(host, port)
    if why == errno.EACCES:
        raise ServiceFailed(f"port {port} is for the system's services alone; choose one above 1023 with --port")
    if why == errno.EADDRINUSE:
        if (process := _listener(port)) is None:
            raise ServiceFailed(f"port {port} is in use; stop what uses it or choose another with --port")
        raise ServiceFailed(
            f"port {port} is in use by process {process} ({_command(process)}); `kill {process}` ends it, or choose "
            "another port with --port"
        )
    if why is not None:
        raise ServiceFailed(f"{host}:{port} cannot be listened to: {os.strerror(why)}")


def _why_not_bound(host: str, port: int) -> int | None:
    """The system's error number; None if the port is free."""
    family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    with socket.socket(family, kind, protocol) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(address)
        except OSError as error:
            return error.errno
        return None


def _listener(port: int) -> int | None:
    """The process that listens to a port, where Linux tells: of other users' processes root alone may know."""
    sockets = set()
    for table in (Path("/proc/net/tcp"), Path("/proc/net/tcp6")):
        lines = table.read_text().splitlines()[1:] if table.exists() else []
        for fields in map(str.split, lines):
            # local address and port in hexadecimal, state 0A is LISTEN, and the socket's number
            if fields[3] == "0A" and int(fields[1].rpartition(":")[2], 16) == port:
                sockets.add(f"socket:[{fields[9]}]")
    for file in Path("/proc").glob("[0-9]*/fd/*") if sockets else ():
        with suppress(OSError):
            if os.readlink(file) in sockets:
                return int(file.parts[2])
    return None


def _command(process: int) -> str:
    words = Path(f"/proc/{process}/cmdline").read_bytes().decode(errors="replace").replace("\0", " ").split()
    return " ".join(words)[:200]
