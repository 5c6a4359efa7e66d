"""Each attempt at a run keeps its checkpoints in a folder of its own, `<run>/<attempt>`.

An earlier attempt whose process was frozen may go on at any instant, also between a look at its lease and the renaming
of a file. It finds its folder gone then, and can neither touch newer checkpoints nor bring a deleted run's folder back.
"""

import shutil
from contextlib import suppress
from pathlib import Path

from cct.checkpoint import CheckpointNotWritten
from cct.extension import link


def begin(newest: Path, run_folder: Path, attempt: int) -> Path:
    """The attempt's folder, which begins with the files in `newest`, where the run is to go on from.

    A second process of the same attempt gets the folder as the first has left it. Raises `CheckpointNotWritten`.
    """
    own, new = run_folder / str(attempt), run_folder / f"new-{attempt}"
    try:
        if not own.exists():
            shutil.rmtree(new, ignore_errors=True)
            new.mkdir(parents=True)
            for file in newest.glob("*.*"):
                if file.is_file() and file.suffix != ".tmp":
                    link(file, new / file.name)
            new.rename(own)  # complete when it appears
    except OSError as error:
        raise CheckpointNotWritten(
            f"cannot write {own} ({error.strerror}); make room there, or let this user write; what was saved before is "
            "still valid"
        ) from error
    return own


def supersede(own: Path) -> None:
    """Removes what earlier attempts have kept; to be called by the holder of the lease."""
    for path in own.parent.iterdir():
        attempt = path.name.removeprefix("new-")
        if path.is_file() or (attempt.isdecimal() and int(attempt) < int(own.name)):
            _remove(path)


def abandon(own: Path) -> None:
    """Removes the folder of an attempt that has lost its lease, and the run's if nothing else is in it."""
    _remove(own)
    with suppress(OSError):  # it belongs to the next attempt
        own.parent.rmdir()


def _remove(path: Path) -> None:
    """What cannot be removed stays, and is not looked at any more."""
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        with suppress(OSError):
            path.unlink()
