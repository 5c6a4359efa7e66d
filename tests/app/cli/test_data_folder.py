"""Who may open a data folder's database: one process at a time, and only that folder's database."""

import json
import os
import shutil
import socket
import subprocess
import sys
import tarfile
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import pytest
from pydantic import RedisDsn

from app.cli import data_folder
from app.cli.board import running
from app.cli.data_folder import BOARD, LOCK, FolderInUse, FolderRefused, holder_of, opened
from app.cli.database import database, running_database, start_valkey
from app.cli.services import ServiceFailed, Services, free_port
from app.settings import Settings
from app.store.run_store import RunStore
from tests.app.cli.test_up import as_normal_user, cctboard
from tests.app.store.test_store import SPEC


def store_at(url: str, data: Path) -> RunStore:
    return RunStore(Settings(redis_url=RedisDsn(url), data=data))


@contextmanager
def board(data: Path) -> Iterator[RunStore]:
    with running(data, "127.0.0.1", free_port(), workers=0, redis_url=None) as services:
        yield store_at(services.redis_url, data)


def lock_of_another_host(data: Path) -> None:
    data.mkdir(exist_ok=True)
    holder = {"host": "gpu-box", "machine": "other", "boot": "other", "pid": 4711, "purpose": BOARD}
    (data / LOCK).write_text(json.dumps(holder | {"since": "2026-11-25T18:40:01+01:00"}))


def runs_in(archive: Path) -> list[str]:
    with tarfile.open(archive) as tar:
        return [name for name in tar.getnames() if name.startswith("runs/")]


def test_a_folder_is_opened_once_and_the_other_is_told_who_has_it(tmp_path: Path) -> None:
    with board(tmp_path) as store:
        [run] = store.create_runs([SPEC])
        refused = cctboard("up", "--data", str(tmp_path), "--port", str(free_port()), "--workers", "0")
        assert (refused.returncode, refused.stderr.count("\n")) == (2, 1)
        who = f"a board (process {os.getpid()} on {os.uname().nodename}, since "
        assert refused.stderr.startswith(f"cctboard: the data folder {tmp_path} is in use by {who}")
        assert f"`kill {os.getpid()}` ends it, or choose another folder with --data" in refused.stderr
        # What only reads and adds uses the database that runs.
        archive = tmp_path / "board.tar"
        assert cctboard("backup", str(archive), "--data", str(tmp_path)).returncode == 0
        assert runs_in(archive) == [f"runs/{run.id}.json"]
    assert not (tmp_path / LOCK).exists()


def test_a_folder_of_another_host_is_refused_until_the_user_says_that_it_is_free(tmp_path: Path) -> None:
    lock_of_another_host(tmp_path)
    (tmp_path / "valkey").mkdir()
    for command in (["up", "--port", str(free_port())], ["backup", str(tmp_path / "x.tar")]):
        refused = cctboard(*command, "--data", str(tmp_path))
        assert (refused.returncode, refused.stderr.count("\n")) == (2, 1)
        assert "in use by a board (process 4711 on gpu-box, since 2026-11-25 18:40:01)" in refused.stderr
        assert "end it there with `kill 4711`; if it was ended without its knowing" in refused.stderr
        assert f"`rm {tmp_path / LOCK}`" in refused.stderr
    refused = cctboard("worker", "--data", str(tmp_path))
    assert (refused.returncode, refused.stderr.count("\n")) == (2, 1)
    assert "runs on gpu-box" in refused.stderr
    (tmp_path / LOCK).unlink()
    with database(tmp_path) as url:
        store_at(url, tmp_path).runs()


@pytest.mark.parametrize("left", ["of a dead process", "before a reboot"])
def test_a_lock_that_a_dead_process_of_this_host_left_is_taken_over(tmp_path: Path, left: str) -> None:
    code = f"""
import os, pathlib
from app.cli.data_folder import opened
with opened(pathlib.Path({str(tmp_path)!r}), "a board"):
    os._exit(9)
"""
    assert subprocess.run([sys.executable, "-c", code]).returncode == 9
    lock = tmp_path / LOCK
    assert lock.exists()
    if left == "before a reboot":
        lock.write_text(json.dumps(json.loads(lock.read_text()) | {"boot": "other", "pid": os.getpid()}))
    assert holder_of(tmp_path) is None
    with opened(tmp_path, BOARD):
        holder = holder_of(tmp_path)
        assert holder is not None
        assert holder.pid == os.getpid()
    assert os.listdir(tmp_path) == []


RACER = """
import os, pathlib, sys, time
from app.cli.data_folder import LOCK, FolderInUse, opened
folder = pathlib.Path(sys.argv[1])
print("ready", flush=True)
sys.stdin.readline()
for turn in range(30):
    try:
        with opened(folder, "a board"):
            os.close(os.open(folder / "inside", os.O_CREAT | os.O_EXCL))  # fails if another is inside too
            stale = (folder / LOCK).read_text()
            time.sleep(0.002)
            os.unlink(folder / "inside")
        print("had it")
        left = folder / f"left.{os.getpid()}"
        left.write_text(stale)
        try:
            os.link(left, folder / LOCK)
        except FileExistsError:
            pass
        left.unlink()
    except FolderInUse:
        time.sleep(0.001)
"""


def test_of_processes_that_want_the_folder_at_the_same_time_one_gets_it(tmp_path: Path) -> None:
    """Also if a dead process's lock is in the way, which each of them wants to remove."""
    pipe, command = subprocess.PIPE, [sys.executable, "-c", RACER, str(tmp_path)]
    racers = [subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, text=True) for _ in range(4)]
    for racer in racers:
        assert racer.stdout is not None
        assert racer.stdout.readline() == "ready\n"
    for racer in racers:
        assert racer.stdin is not None
        racer.stdin.write("go\n")
        racer.stdin.flush()
    said = [racer.communicate(timeout=60) for racer in racers]
    assert [errors for _, errors in said] == [""] * 4
    assert sum(out.count("had it") for out, _ in said) > 4


def test_a_lock_without_content_is_named(tmp_path: Path) -> None:
    (tmp_path / LOCK).write_bytes(bytes(64))
    with pytest.raises(FolderRefused, match=f"is damaged; if no board uses the folder, on any machine: `rm {tmp_path}"):
        holder_of(tmp_path)


def test_a_file_system_without_locks_falls_back_to_process_ids(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(data_folder, "_lock", lambda file: None)
    with opened(tmp_path, BOARD), pytest.raises(FolderInUse), opened(tmp_path, BOARD):
        pass
    with opened(tmp_path, BOARD):
        left = json.loads((tmp_path / LOCK).read_text())
    ended = subprocess.Popen(["true"])
    ended.wait()
    (tmp_path / LOCK).write_text(json.dumps(left | {"pid": ended.pid}))
    assert holder_of(tmp_path) is None


def test_a_copy_of_a_running_boards_folder_is_a_folder_of_its_own(tmp_path: Path) -> None:
    original, copy = tmp_path / "original", tmp_path / "copy"
    with board(original) as store:
        [run] = store.create_runs([SPEC])
        shutil.copytree(original, copy)
        store.create_runs([SPEC])
        archive = tmp_path / "copy.tar"
        done = cctboard("backup", str(archive), "--data", str(copy))
        assert done.returncode == 0, done.stderr
        assert runs_in(archive) == [f"runs/{run.id}.json"], "not the original's"
        assert running_database(copy) is None
        with board(copy) as second:
            assert [one.id for one in second.runs()] == [run.id]
            url, other = running_database(original), running_database(copy)
            assert None not in (url, other)
            assert url != other
        assert len(store.runs()) == 2


@pytest.mark.parametrize("text", [b"", b"\0\0\0\0\0", b"six thousand", b"0", b"99999", b"\xff\xfe"])
def test_a_port_file_without_a_port_costs_nothing_but_the_port(tmp_path: Path, text: bytes) -> None:
    with database(tmp_path) as url:
        [run] = store_at(url, tmp_path).create_runs([SPEC])
    (tmp_path / "valkey" / "port").write_bytes(text)
    with database(tmp_path) as url:
        assert [one.id for one in store_at(url, tmp_path).runs()] == [run.id]


def talk(server: socket.socket) -> None:
    """As another protocol's server does."""
    with suppress(OSError):
        while True:
            with server.accept()[0] as connection:
                connection.sendall(b"SSH-2.0-OpenSSH\r\n")


@pytest.mark.parametrize("stranger", ["silent", "talking", "another database"])
def test_another_program_on_the_recorded_port_is_not_taken_for_the_board(tmp_path: Path, stranger: str) -> None:
    ours = tmp_path / "ours"
    with database(ours) as url:
        [run] = store_at(url, ours).create_runs([SPEC])
    port = int((ours / "valkey" / "port").read_text())
    with ExitStack() as stack:
        if stranger == "another database":
            theirs = tmp_path / "theirs"
            (theirs / "valkey").mkdir(parents=True)
            (theirs / "valkey" / "port").write_text(str(port))
            store_at(stack.enter_context(database(theirs)), theirs).create_runs([SPEC, SPEC])
            assert (theirs / "valkey" / "port").read_text() == str(port)
        else:
            server = stack.enter_context(socket.create_server(("127.0.0.1", port)))
            if stranger == "talking":
                threading.Thread(target=talk, args=[server], daemon=True).start()
        with database(ours) as url:
            assert [one.id for one in store_at(url, ours).runs()] == [run.id]
            assert str(port) not in url


def test_a_database_that_a_killed_board_left_behind_is_named(tmp_path: Path) -> None:
    """Without its lock: also a board of version 0.1, which had none, or whose file the user has removed."""
    services = Services(tmp_path)
    try:
        start_valkey(services, tmp_path)
        process = services.process_id("valkey")
        with (
            pytest.raises(ServiceFailed, match=f"runs already, as process {process}: .* `kill {process}` ends it"),
            database(tmp_path),
        ):
            pass
    finally:
        services.stop()
    with database(tmp_path) as url:
        store_at(url, tmp_path).runs()


def test_an_unwritable_folder_is_named(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    with (
        as_normal_user(),
        pytest.raises(FolderRefused, match=r"cannot be used \(.*: Permission denied\); name another one with --data"),
        opened(tmp_path / "data", BOARD),
    ):
        pass
