"""A database and a data folder of two boards are not used together."""

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from app.settings import Settings
from app.store.board import OtherFolder, check_folder
from app.store.run_store import RunStore
from tests.app.store.test_store import RECORD, SPEC


def test_a_new_board_names_its_folder_once_however_many_ask(store: RunStore, tmp_path: Path) -> None:
    data = tmp_path / "data"
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda _: check_folder(store, data), range(16)))
    assert (data / "board").read_text() == store.redis.get(store.key("board"))
    assert [path.name for path in data.iterdir()] == ["board"]


def test_another_folder_is_refused_and_the_message_says_what_helps(store: RunStore, tmp_path: Path) -> None:
    check_folder(store, tmp_path)
    other = tmp_path / "other"
    with pytest.raises(OtherFolder, match=f"{other} is not the data folder of the board in this database"):
        check_folder(store, other)
    assert not other.exists()
    other.mkdir()
    (other / "board").write_text("of another board\n")
    with pytest.raises(OtherFolder, match="name the right one") as refused:
        check_folder(store, other)
    (other / "board").write_text(str(refused.value).rpartition("put ")[2].split()[0] + "\n")
    check_folder(store, other)


def test_an_emptied_database_belongs_to_the_folder_as_before(store: RunStore, tmp_path: Path) -> None:
    check_folder(store, tmp_path)
    named = (tmp_path / "board").read_text()
    store.redis.flushdb()
    check_folder(store, tmp_path)
    assert store.redis.get(store.key("board")) == named


def test_a_database_of_version_0_1_knows_its_folder_by_the_checkpoints(
    store: RunStore, settings: Settings, tmp_path: Path
) -> None:
    [run] = store.create_runs([SPEC])
    lease = store.claim("w")
    assert lease is not None
    lease.record_epoch(RECORD)
    with pytest.raises(OtherFolder, match="has no checkpoint of any run in this database"):
        check_folder(store, tmp_path / "other")
    settings.checkpoints(run.id).mkdir(parents=True)
    check_folder(store, settings.data)
    with pytest.raises(OtherFolder, match="is not the data folder"):
        check_folder(store, tmp_path / "other")


def test_where_all_checkpoints_of_version_0_1_are_gone_the_message_helps(store: RunStore, tmp_path: Path) -> None:
    store.create_runs([SPEC])
    lease = store.claim("w")
    assert lease is not None
    lease.record_epoch(RECORD)
    with pytest.raises(OtherFolder, match=f"put any word into {tmp_path / 'board'}"):
        check_folder(store, tmp_path)
    (tmp_path / "board").write_text("word\n")
    check_folder(store, tmp_path)
    assert store.redis.get(store.key("board")) == "word"


@pytest.mark.parametrize(
    "command",
    [
        ["app.cli", "worker"],
        ["app.cli", "api"],
        ["app.cli", "backup", "-"],
        ["celery", "-A", "worker.tasks", "worker", "--pool", "threads"],
    ],
    ids=lambda command: command[1],
)
def test_no_process_goes_on_with_the_folder_of_another_board(
    store: RunStore, settings: Settings, tmp_path: Path, command: list[str]
) -> None:
    """Not even a worker that is started without our command."""
    check_folder(store, settings.data)
    other = tmp_path / "other"
    environment = os.environ | {"CCTBOARD_REDIS_URL": str(settings.redis_url), "CCTBOARD_DATA": str(other)}
    ended = subprocess.run(
        [sys.executable, "-m", *command], env=environment, capture_output=True, text=True, timeout=60
    )
    assert ended.returncode == 2
    assert f"{other} is not the data folder of the board in this database" in ended.stderr
    assert not other.exists()


def test_the_database_of_the_folder_itself_needs_no_other_proof(store: RunStore, tmp_path: Path) -> None:
    """Checkpoints or the folder's name may have been removed to make room."""
    store.create_runs([SPEC])
    lease = store.claim("w")
    assert lease is not None
    lease.record_epoch(RECORD)
    for _ in range(2):
        check_folder(store, tmp_path, is_within=True)
        assert (tmp_path / "board").read_text() == store.redis.get(store.key("board"))
        (tmp_path / "board").unlink()
    (tmp_path / "board").write_text("of another board")
    with pytest.raises(OtherFolder, match="is not the data folder"):
        check_folder(store, tmp_path, is_within=True)
