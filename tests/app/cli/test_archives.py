"""Backup, restore and import on the command line: what is refused, what stays, and what is told."""

import os
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic import RedisDsn

from app.cli.database import database
from app.settings import Settings
from app.store.board import check_folder
from app.store.run_store import RunStore
from tests.app.cli.conftest import Command
from tests.app.store.test_store import SPEC

COMMANDS = ["backup", "restore", "import"]


def shell(command: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """What a shell makes of a command line in which $CCTBOARD is the program."""
    known = os.environ | {"CCTBOARD": f"{sys.executable} -m app.cli"} | environment
    return subprocess.run(["bash", "-c", command], env=known, capture_output=True, text=True, timeout=60)


@pytest.fixture
def board(store: RunStore, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The id of the only run of a board whose database the settings name; it has a checkpoint."""
    monkeypatch.setenv("CCTBOARD_REDIS_URL", str(settings.redis_url))
    monkeypatch.setenv("CCTBOARD_DATA", str(settings.data))
    check_folder(store, settings.data)
    [run] = store.create_runs([SPEC])
    settings.checkpoints(run.id).mkdir(parents=True)
    (settings.checkpoints(run.id) / "last.pt").write_bytes(bytes(100_000))
    yield run.id
    store.redis.flushdb()


def test_a_board_is_carried_to_another_folder(tmp_path: Path, cctboard: Command) -> None:
    """With the embedded databases of two data folders, started for as long as the commands need them."""
    one, two, archive = tmp_path / "one", tmp_path / "two", tmp_path / "board.tar"
    with database(one) as url:
        [run] = RunStore(Settings(redis_url=RedisDsn(url), data=one)).create_runs([SPEC])
    done = cctboard("backup", str(archive), "--data", str(one))
    assert (done.returncode, done.stderr) == (0, "1 runs and 0 experiments written\n")
    restored = cctboard("restore", str(archive), "--data", str(two))
    assert (restored.returncode, restored.stdout.splitlines()[0]) == (0, "1 runs and 0 experiments read")
    refused = cctboard("restore", str(archive), "--data", str(two))
    assert (refused.returncode, refused.stderr.count("\n")) == (2, 1)
    assert "use import" in refused.stderr
    with database(two) as url:
        assert [r.id for r in RunStore(Settings(redis_url=RedisDsn(url), data=two)).runs()] == [run.id]


def test_a_folder_without_a_board_has_no_backup(tmp_path: Path, cctboard: Command) -> None:
    for folder in (tmp_path / "nope", tmp_path):
        done = cctboard("backup", str(tmp_path / "board.tar"), "--data", str(folder))
        assert (done.returncode, done.stdout) == (2, "")
        assert done.stderr == f"cctboard: there is no board in {folder}; name its folder with --data\n"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("end", ["INT", "TERM", "KILL"])
def test_a_backup_that_is_ended_leaves_the_one_before(board: str, settings: Settings, tmp_path: Path, end: str) -> None:
    archive, pipe = tmp_path / "board.tar", settings.checkpoints(board) / "best.pt"
    archive.write_bytes(b"the good one")
    os.mkfifo(pipe)  # what reads it waits
    script = (
        f"$CCTBOARD backup {archive} & until ls {tmp_path} | grep -q tmp; do sleep 0.05; done; kill -{end} %1; wait %1"
    )
    done = shell(f"set -m; {script}")
    assert done.returncode != 0
    assert archive.read_bytes() == b"the good one"


def test_a_backup_on_a_full_disk_leaves_the_one_before(board: str, tmp_path: Path) -> None:
    archive = tmp_path / "board.tar"
    archive.write_bytes(b"the good one")
    limited = f"ulimit -f 20; trap '' XFSZ; $CCTBOARD backup {archive}"
    done = shell(limited)
    assert (done.returncode, done.stderr) == (2, f"cctboard: {archive}: File too large; no backup was written\n")
    assert archive.read_bytes() == b"the good one"
    assert not list(tmp_path.glob("*.tmp"))
    done = shell("$CCTBOARD backup - > /dev/full")
    assert (done.returncode, done.stderr) == (
        2,
        "cctboard: standard output: No space left on device; no backup was written\n",
    )


def test_a_stream_is_restored_or_refused(board: str, settings: Settings, store: RunStore, tmp_path: Path) -> None:
    archive = tmp_path / "board.tar"
    assert shell(f"$CCTBOARD backup - > {archive}").returncode == 0
    store.delete(board)
    with tarfile.open(archive) as tar:
        last = tar.getmembers()[-1].offset
    refused = shell(f"head -c {last} {archive} | $CCTBOARD restore -")
    assert (refused.returncode, refused.stdout, refused.stderr.count("\n")) == (2, "", 1)
    assert "is cut off" in refused.stderr
    assert store.runs() == []
    restored = shell(f"cat {archive} | $CCTBOARD restore - --json")
    assert (restored.returncode, '"runs": 1' in restored.stdout) == (0, True), restored.stderr
    assert [run.id for run in store.runs()] == [board]
    imported = shell(f"$CCTBOARD import <(cat {archive})")
    assert imported.stdout.splitlines()[:2] == ["0 runs and 0 experiments read", "1 runs were here already"]


@pytest.mark.parametrize("command", COMMANDS)
def test_a_place_that_is_no_archive_is_named(board: str, cctboard: Command, tmp_path: Path, command: str) -> None:
    (tmp_path / "file").write_bytes(b"text")
    places = {
        tmp_path: "Is a directory",
        tmp_path / "no" / "x.tar": "No such file or directory",
        tmp_path / "file" / "x.tar": "Not a directory",
        tmp_path / "[/red].tar" / "x": "No such file or directory",
    }
    for place, reason in places.items():
        done = cctboard(command, str(place))
        assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
        assert done.stderr.startswith(f"cctboard: {place}: {reason}; ")
    if command == "import":
        done = cctboard(command, str(tmp_path / "file"))
        assert done.stderr.startswith("cctboard: archive: is not an archive of a board, or damaged: ")


@pytest.mark.parametrize("command", COMMANDS)
def test_a_database_that_does_not_answer_is_named(
    cctboard: Command, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, command: str
) -> None:
    (tmp_path / "board.tar").touch()
    monkeypatch.setenv("CCTBOARD_REDIS_URL", "redis://127.0.0.1:9")
    done = cctboard(command, str(tmp_path / "board.tar"), "--data", str(tmp_path))
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    assert done.stderr.startswith("cctboard: the database does not answer: Error 111 connecting to 127.0.0.1:9")


@pytest.mark.parametrize("command", COMMANDS)
def test_another_boards_folder_is_refused(board: str, cctboard: Command, tmp_path: Path, command: str) -> None:
    """A backup would be one without checkpoints."""
    (tmp_path / "board.tar").touch()
    done = cctboard(command, str(tmp_path / "board.tar"), "--data", str(tmp_path / "other"))
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    assert "is not the data folder of the board in this database" in done.stderr
