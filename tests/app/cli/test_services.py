"""What keeps a board's processes running."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

from app.cli.services import MOST_SHORT_LIVES, ROOM_BYTES, ServiceFailed, Services
from tests.conftest import wait_for


class Disk(NamedTuple):
    f_bfree: int
    f_bavail: int
    f_frsize: int = 1


@pytest.fixture
def room(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Sets how many bytes the disk has left."""
    return lambda free: monkeypatch.setattr(os, "statvfs", lambda path: Disk(free, free))


def test_what_ends_on_a_full_disk_is_started_again_when_there_is_room(
    tmp_path: Path, room: Callable[[int], None], capfd: pytest.CaptureFixture[str]
) -> None:
    room(ROOM_BYTES - 1)
    board = Services(tmp_path)
    starts = tmp_path / "logs" / "short.log"
    try:
        board.start("short", ["echo", "started"], {})
        board.keep_alive()
        said = ""

        def is_said() -> bool:
            nonlocal said
            said += capfd.readouterr().err
            return said == f"the disk of {tmp_path} is full: the board goes on as soon as there is room\n"

        wait_for(is_said, 10)
        board.check()
        assert starts.read_text() == "started\n"
        room(ROOM_BYTES)
        wait_for(lambda: starts.read_text().count("started") > 1, 10)
    finally:
        board.stop()


def test_what_ends_again_and_again_is_given_up(tmp_path: Path, room: Callable[[int], None]) -> None:
    room(ROOM_BYTES)
    board = Services(tmp_path)
    try:
        board.start("short", ["echo", "the reason"], {})
        board.keep_alive()

        def given_up() -> bool:
            try:
                board.check()
            except ServiceFailed as error:
                return "short ended (the reason); its whole log" in str(error)
            return False

        wait_for(given_up, 20)
    finally:
        board.stop()
    assert (tmp_path / "logs" / "short.log").read_text().count("the reason") == MOST_SHORT_LIVES + 1


def test_a_guard_that_was_killed_is_replaced(tmp_path: Path) -> None:
    """By one that knows the services and ends them with the process that started them."""
    code = f"""
import os, pathlib, signal, subprocess, time
from app.cli.services import Services
board = Services(pathlib.Path({str(tmp_path)!r}))
board.start("sleeping", ["sleep", "1000"], {{}})
board.keep_alive()
os.kill(board._guard.pid, signal.SIGKILL)
time.sleep(1)
print(board.process_id("sleeping"), flush=True)
os._exit(9)
"""
    killed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert killed.returncode == 9, killed.stderr
    sleeping = Path("/proc", killed.stdout.strip())
    wait_for(lambda: not sleeping.exists() or ") Z " in (sleeping / "stat").read_text(), 10)


def test_a_board_that_cannot_start_on_a_full_disk_says_so(tmp_path: Path, room: Callable[[int], None]) -> None:
    room(0)
    board = Services(tmp_path)
    board.start("database", ["false"], {})
    with pytest.raises(ServiceFailed, match=f"the disk of {tmp_path} is full: make room; database ended"):
        wait_for(board.check, 10)
    board.stop()
