"""`cctboard api --processes`: one port, several processes."""

import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import httpx2 as httpx
import psutil

from app.cli.services import free_port
from app.settings import Settings
from app.store.run_store import RunStore
from tests.conftest import wait_for
from tests.worker.conftest import environment


def test_several_processes_share_a_port_and_end_together(settings: Settings, store: RunStore) -> None:
    port = free_port()
    command = [sys.executable, "-m", "app.cli", "api", "--port", str(port), "--processes", "2"]
    with psutil.Popen(command, env=environment(settings), stderr=subprocess.DEVNULL) as parent:
        try:

            def fresh() -> int:
                """The status of an answer to a connection of its own, which any of the processes may take."""
                with suppress(httpx.TransportError):
                    return httpx.get(f"http://127.0.0.1:{port}/runs").status_code
                return 0

            wait_for(lambda: all(fresh() == 200 for _ in range(10)), 60)
            first, second = parent.children()
            second.kill()
            wait_for(lambda: second.pid not in {child.pid for child in parent.children()}, 10)
            wait_for(lambda: len(parent.children()) == 2, 10)
            served = parent.children()
            assert first in served
            parent.send_signal(signal.SIGKILL)
            assert psutil.wait_procs(served, 20)[1] == [], "they end with it however it ends"
        finally:
            with suppress(psutil.NoSuchProcess):
                parent.kill()


CANNOT_START = """
import sys
if "--listener" in sys.orig_argv:
    sys.exit(3)
"""
"""For Python's start."""


def test_processes_that_cannot_start_end_the_command(settings: Settings, store: RunStore, tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(CANNOT_START)
    command = [sys.executable, "-m", "app.cli", "api", "--port", str(free_port()), "--processes", "2"]
    path = {"PYTHONPATH": str(tmp_path)}
    ended = subprocess.run(command, env=environment(settings) | path, stderr=subprocess.DEVNULL, timeout=60)
    assert ended.returncode == 1
