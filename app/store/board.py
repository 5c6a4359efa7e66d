"""One board is a database with what was measured and a folder with the checkpoints, and neither is right with another.

The database names its board in the key `board`, the data folder in the file `board`.
"""

import os
import secrets
import tempfile
from pathlib import Path
from typing import cast

from app.errors import BoardError
from app.store.run_store import RunStore
from cct.whole_file import whole_file

FILE = "board"


class OtherFolder(BoardError):
    """The data folder is not that of the board in this database."""

    status = 409
    title = "Another board's folder"


def check_folder(store: RunStore, data: Path, is_within: bool = False) -> None:
    """Raises `OtherFolder` unless `data` is the folder of the board in this database.

    A database that names no board yet takes the folder's name, and a folder without a name gets one then; unless the
    database already has epochs of runs, and there is no checkpoint of any of them in the folder. `is_within` tells that
    the database's own files are in the folder, which then needs no other proof. Safe to be called by several processes
    at the same time. Raises `RedisError`, `OSError`.
    """
    key, file = store.key("board"), data / FILE
    if is_within and not file.exists():
        _write_once(file, cast(str | None, store.redis.get(key)) or secrets.token_hex(16))
    if store.redis.get(key) is None:
        if not file.exists():
            trained = [run.id for run in store.runs() if run.epoch]
            if trained and not any((data / "checkpoints" / run_id).is_dir() for run_id in trained):
                raise OtherFolder(
                    f"{data.absolute()} has no checkpoint of any run in this database, so it is not the board's data "
                    f"folder; name the right one. Only if all its checkpoints are gone: put any word into {file}"
                )
            _write_once(file, secrets.token_hex(16))
        store.redis.set(key, _read(file), nx=True)
    # The database's name is read before the folder's: whoever was first has written the folder's before.
    board = cast(str, store.redis.get(key))
    if not file.exists() or _read(file) != board:
        raise OtherFolder(
            f"{data.absolute()} is not the data folder of the board in this database; name the right one, which holds "
            f"the board's checkpoints. Only if this is what is left of it: put {board} into {file}"
        )


def _read(file: Path) -> str:
    return file.read_text(encoding="utf-8").strip()


def _write_once(path: Path, content: str) -> None:
    """The file is complete when it appears; what another process has written stays."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile("w", dir=path.parent) as file:
        os.fchmod(file.fileno(), 0o644)
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
        try:
            os.link(file.name, path)
        except FileExistsError:
            pass
        except OSError:  # a file system without links
            with whole_file(path) as whole:
                whole.write(content.encode())
