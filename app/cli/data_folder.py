"""The data folder: one process at a time opens its database, on whatever machine.

Who has it is told by the file `board.lock`, in JSON. The file appears in one step, as a hard link, which network file
systems keep whole too; and it is locked by the kernel for as long as a process of the board lives. On one machine the
kernel's lock decides, so that a file that a dead process left, or that was copied with the folder, is taken over. Of
another machine's processes nothing can be known: its file is believed, and the message tells how to end that board.
"""

import errno
import fcntl
import os
import platform
import shlex
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path

from pydantic import BaseModel, ValidationError

LOCK = "board.lock"
BOARD = "a board"
LEFTOVER_SECONDS = 60.0
"""The longest that a board which was killed may take until its processes have ended."""


class FolderRefused(Exception):
    """The data folder cannot be used; the message is one line that says why, and what to do."""


class StopAsked(Exception):
    """The user asked for the end while something was waited for."""


class Holder(BaseModel):
    """Who has the folder."""

    host: str
    machine: str
    """Id of the installed system, which a reboot does not change; empty where there is none."""
    boot: str
    """Id of the running kernel, which containers share; empty where there is none."""
    pid: int
    since: datetime
    purpose: str

    def is_here(self) -> bool:
        """Whether it is this machine's, also of before a reboot: then the kernel's lock can be asked."""
        me = _myself("")
        return self.boot == me.boot != "" or (self.host, self.machine) == (me.host, me.machine)

    def lives(self) -> bool:
        """Whether a process of its id runs here, and has not just ended as a zombie."""
        with suppress(PermissionError):  # another user's
            try:
                os.kill(self.pid, 0)
            except ProcessLookupError:
                return False
        return _text(f"/proc/{self.pid}/stat").rpartition(")")[2].split()[:1] != ["Z"]


class FolderInUse(FolderRefused):
    def __init__(self, folder: Path, holder: Holder) -> None:
        who = f"process {holder.pid} on {holder.host}, since {holder.since:%Y-%m-%d %H:%M:%S}"
        if holder.is_here():
            way_out = f"`kill {holder.pid}` ends it, or choose another folder with --data"
        else:
            way_out = (
                f"end it there with `kill {holder.pid}`; if it was ended without its knowing, by a loss of power for "
                f"example, or if this folder is a copy: `rm {shlex.quote(str(folder / LOCK))}`"
            )
        super().__init__(f"the data folder {folder} is in use by {holder.purpose} ({who}); {way_out}")
        self.holder = holder


@contextmanager
def opened(folder: Path, purpose: str, stop_asked: threading.Event | None = None) -> Iterator[int]:
    """The folder, made if it is missing, for this process alone until the context ends.

    Gives the descriptor of the locked file: a process that inherits it keeps the folder as well. What is left of a
    board that was killed is waited for. Raises `FolderRefused`, `StopAsked`.
    """
    with usable(folder):
        folder.mkdir(parents=True, exist_ok=True)
        lock = _acquire(folder, purpose, stop_asked or threading.Event())
    try:
        yield lock
    finally:
        _remove(folder / LOCK, lock)
        os.close(lock)


def holder_of(folder: Path) -> Holder | None:
    """Who has the folder now, if anybody. Raises `FolderRefused`."""
    with usable(folder):
        return _living_holder(folder)


@contextmanager
def usable(folder: Path) -> Iterator[None]:
    """What the system refuses within the context is a `FolderRefused` that names the file."""
    try:
        yield
    except (FileExistsError, NotADirectoryError) as error:
        raise FolderRefused(f"{error.filename} is not a folder; name another data folder with --data") from error
    except OSError as error:
        why = f"{error.filename or folder}: {error.strerror}"
        raise FolderRefused(f"the data folder cannot be used ({why}); name another one with --data") from error


def _acquire(folder: Path, purpose: str, stop_asked: threading.Event) -> int:
    lock, name = tempfile.mkstemp(prefix=f"{LOCK}.", dir=folder)
    try:
        os.write(lock, _myself(purpose).model_dump_json().encode())
        os.fsync(lock)
        _lock(lock)
        waited = 0.0
        while not _link(name, lock, folder / LOCK):
            if (holder := _living_holder(folder)) is None:
                continue
            if not holder.is_here() or holder.lives() or waited > LEFTOVER_SECONDS:
                raise FolderInUse(folder, holder)
            if not waited:
                print("what is left of a board that was killed is being ended ...", file=sys.stderr, flush=True)
            if stop_asked.wait(0.2):
                raise StopAsked
            waited += 0.2
    except BaseException:
        os.close(lock)
        raise
    finally:
        os.unlink(name)
    return lock


def _link(name: str, lock: int, path: Path) -> bool:
    """Whether the file is the folder's lock now: a success whose answer a file server lost looks like a failure."""
    with suppress(FileExistsError):
        os.link(name, path)
    return os.fstat(lock).st_nlink == 2


def _living_holder(folder: Path) -> Holder | None:
    """None also if the file was a dead process's, which is removed then."""
    path = folder / LOCK
    try:
        file = os.open(path, os.O_RDWR)
    except FileNotFoundError:
        return None
    try:
        try:
            holder = Holder.model_validate_json(os.read(file, 10_000))
        except ValidationError as error:
            remove = f"rm {shlex.quote(str(path))}"
            raise FolderRefused(
                f"{path} is damaged; if no board uses the folder, on any machine: `{remove}`"
            ) from error
        if not holder.is_here():
            return holder
        locked = _lock(file)
        if locked is False or (locked is None and holder.lives()):
            return holder
        _remove(path, file)
        return None
    finally:
        os.close(file)


def _remove(path: Path, file: int) -> None:
    """Unless it is another file by now: another process was quicker, or the user has removed ours."""
    with suppress(FileNotFoundError):
        if os.path.samestat(os.fstat(file), path.stat()):
            path.unlink()


def _lock(file: int) -> bool | None:
    """Takes the kernel's lock of an open file, unless another process has it; None if this file system has no locks."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        if error.errno not in (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP):
            raise
        return None
    return True


def _myself(purpose: str) -> Holder:
    now = datetime.now().astimezone()
    machine, boot = _text("/etc/machine-id"), _text("/proc/sys/kernel/random/boot_id")
    return Holder(host=platform.node(), machine=machine, boot=boot, pid=os.getpid(), since=now, purpose=purpose)


def _text(path: str) -> str:
    try:
        return Path(path).read_text().strip()
    except OSError:
        return ""
