import io
import os
import subprocess
import sys
from collections.abc import Callable

import pytest

from app.cli.main import main
from app.cli.output import NO_TERMINAL_WIDTH, console

Command = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def cctboard(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    """Runs the command in this process, as a program of its own takes a second to start; `answer` is typed in."""

    # As in a pipe: pytest's parallel processes have COLUMNS set.
    monkeypatch.setattr(console, "width", NO_TERMINAL_WIDTH)

    def run(*arguments: str, answer: str = "") -> subprocess.CompletedProcess[str]:
        monkeypatch.setattr(sys, "argv", ["cctboard", *arguments])
        monkeypatch.setattr(sys, "stdin", io.StringIO(answer))
        capsys.readouterr()
        before = os.environ.copy()
        with pytest.raises(SystemExit) as end:
            main()
        os.environ.clear()  # options become settings in it
        os.environ.update(before)
        told = capsys.readouterr()
        assert end.value.code is None or isinstance(end.value.code, int)
        return subprocess.CompletedProcess(arguments, end.value.code or 0, told.out, told.err)

    return run


@pytest.fixture
def board(server: str, monkeypatch: pytest.MonkeyPatch, cctboard: Command) -> Command:
    """The command, which finds the board `server`."""
    monkeypatch.setenv("CCTBOARD_URL", server)
    return cctboard
