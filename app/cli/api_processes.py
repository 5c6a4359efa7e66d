"""Several API processes that listen to one port: `cctboard api --processes N`."""

import signal
import socket
import subprocess
import sys
import threading
import time

SHORT_LIFE_SECONDS = 10.0
"""A process that ends by itself sooner after its start could not start; any other is started again."""


class _Server:
    """One of the processes, and the socket it listens on, which is there also while the process is started again."""

    def __init__(self, host: str, port: int) -> None:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        self._socket = socket.socket(family, kind, protocol)
        # The system spreads connections over sockets of one port; over processes of one socket it would not.
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        self._socket.bind(address)
        self._command = [sys.executable, "-m", "app.cli", "api", "--host", host, "--port", str(port)]
        self._command += ["--listener", str(self._socket.fileno())]
        self.start()

    def start(self) -> None:
        self.started_at = time.monotonic()
        # It ends when its standard input does, and with it this process.
        self.process = subprocess.Popen(self._command, stdin=subprocess.PIPE, pass_fds=(self._socket.fileno(),))


def serve(host: str, port: int, processes: int) -> int:
    """Runs so many API processes until SIGTERM or Ctrl-C, each started again when it ends; the exit code."""
    stopping = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopping.set())
    servers = [_Server(host, port) for _ in range(processes)]
    code = 0
    while not code and not stopping.wait(0.2):
        for server in servers:
            if (ended := server.process.poll()) is not None:
                if ended > 0 and time.monotonic() - server.started_at < SHORT_LIFE_SECONDS:
                    code = ended
                else:
                    server.start()
    for server in servers:
        server.process.terminate()
    for server in servers:
        server.process.wait()
    return code
