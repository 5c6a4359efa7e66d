"""More epochs for a finished run: another run begins where it ended. Standard library only, never torch."""

import errno
import os
import shutil
from pathlib import Path

LAST = "last.pt"
BEST = "best.pt"
"""A run's checkpoints of its newest and of its best epoch."""

ANSWERS = "answers.npz"
"""Beside them, once the run is completed: what it said of each validation image."""


def hold(finished: Path, folder: Path) -> None:
    """Gives a folder the checkpoints in that of a finished run, which may be removed afterwards.

    Raises `FileNotFoundError` if they are not there, other `OSError` if the folder cannot be written.
    """
    for name in (BEST, LAST):
        if not (finished / name).is_file():
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(finished / name))
    folder.mkdir(parents=True, exist_ok=True)
    for name in (BEST, LAST):  # the one that decides comes last
        link(finished / name, folder / name)


def link(file: Path, to: Path) -> None:
    """A checkpoint is never changed but replaced, so both names may be of the same file, where the file system knows
    links."""
    try:
        os.link(file, to)
    except FileNotFoundError:
        raise
    except OSError:
        shutil.copy2(file, to)
