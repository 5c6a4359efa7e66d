"""A database whose files a loss of power, or a disk, has damaged: mended, or refused with a way out that exists."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import redis
from pydantic import RedisDsn
from redis.backoff import NoBackoff
from redis.retry import Retry

from app.cli.append_only_file import find_damage
from app.cli.database import database
from app.cli.services import ServiceFailed
from app.settings import Settings
from app.store.run_store import RunStore
from tests.app.cli.test_up import cctboard
from tests.app.store.test_store import SPEC

Change = Callable[[bytes], bytes]


def runs(data: Path) -> list[int]:
    """The seeds of the runs that the board of a folder has."""
    with database(data) as url:
        return [run.spec.seed for run in RunStore(Settings(redis_url=RedisDsn(url), data=data)).runs()[::-1]]


def queue(data: Path, *seeds: int) -> None:
    with database(data) as url:
        store = RunStore(Settings(redis_url=RedisDsn(url), data=data))
        for seed in seeds:
            store.create_runs([replace(SPEC, seed=seed)])


@pytest.fixture
def writes(tmp_path: Path) -> Path:
    """The file of writes of a database with three runs."""
    queue(tmp_path, 0, 1, 2)
    [file] = (tmp_path / "valkey" / "appendonlydir").glob("*.incr.aof")
    return file


def test_a_database_is_used_when_it_has_read_all_its_files(tmp_path: Path) -> None:
    with database(tmp_path) as url, redis.Redis.from_url(url) as client, client.pipeline() as pipeline:
        for number in range(5_000):
            pipeline.set(f"key {number}", number)
        pipeline.execute()
    with (tmp_path / "valkey" / "password.conf").open("a") as settings:
        settings.write("key-load-delay 300\n")  # microseconds; between a thousand keys it answers that it is busy
    with database(tmp_path) as url, redis.Redis.from_url(url, retry=Retry(NoBackoff(), 0)) as client:
        assert client.dbsize() == 5_000


def half_of_the_last_write(content: bytes) -> bytes:
    return content[: content.rindex(b"MULTI") + 200]


@pytest.mark.parametrize(
    ("change", "left"),
    [
        (half_of_the_last_write, [0, 1]),
        (lambda content: half_of_the_last_write(content) + bytes(3), [0, 1]),
    ],
)
def test_a_write_that_ends_too_early_is_cut_by_the_database_itself(
    tmp_path: Path, writes: Path, capfd: pytest.CaptureFixture[str], change: Change, left: list[int]
) -> None:
    writes.write_bytes(change(writes.read_bytes()))
    assert runs(tmp_path) == left
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize(
    ("change", "left"),
    [
        (lambda content: content + bytes(64), [0, 1, 2]),
        (lambda content: content + bytes(512), [0, 1, 2]),
        (lambda content: content + bytes(1 << 20), [0, 1, 2]),
        (lambda content: half_of_the_last_write(content) + bytes(512), [0, 1]),
    ],
)
def test_what_a_loss_of_power_tore_off_is_cut_and_kept(
    tmp_path: Path, writes: Path, capfd: pytest.CaptureFixture[str], change: Change, left: list[int]
) -> None:
    whole = writes.read_bytes()
    writes.write_bytes(change(whole))
    damaged = writes.read_bytes()
    assert runs(tmp_path) == left
    [kept] = (tmp_path / "valkey").glob("damaged-*")
    assert (kept / writes.name).read_bytes() == damaged
    lost = f"{len(damaged) - find_end(whole, left):,} of its {len(damaged):,} bytes"
    why = f"ends in the middle of a write or with zeros, as after a loss of power ({lost})"
    assert capfd.readouterr().err == f"{writes} {why}: that end was cut off, and is kept in {kept}\n"
    assert find_damage(tmp_path / "valkey") is None
    queue(tmp_path, 7)
    assert runs(tmp_path) == [*left, 7]


def find_end(whole: bytes, left: list[int]) -> int:
    """Where the write of the last of these runs ends."""
    return len(whole) if len(left) == 3 else whole.rindex(b"*1\r\n$5\r\nMULTI")


def zeros_in_the_second_run(content: bytes) -> bytes:
    start = content.index(b"MULTI", content.index(b"EXEC")) + 100
    return content[:start] + bytes(64) + content[start + 64 :]


def without_a_piece_of_the_second_run(content: bytes) -> bytes:
    start = content.index(b"MULTI", content.index(b"EXEC")) + 100
    return content[:start] + content[start + 64 :]


@pytest.mark.parametrize("change", [zeros_in_the_second_run, without_a_piece_of_the_second_run])
def test_damage_within_is_refused_until_the_user_goes_on_without_what_is_behind(
    tmp_path: Path, writes: Path, change: Change
) -> None:
    writes.write_bytes(damaged := change(writes.read_bytes()))
    with pytest.raises(ServiceFailed) as refused:
        runs(tmp_path)
    said = str(refused.value)
    assert f"{writes} is damaged behind byte " in said
    assert "commands in " in said
    assert "cannot be used: what was written after 20" in said
    assert f"`cctboard repair --data {tmp_path}` goes on without it, or restore a backup" in said
    assert writes.read_bytes() == damaged, "nothing is thrown away unasked"
    asked = cctboard("repair", "--data", str(tmp_path), answer="n\n")
    assert (asked.returncode, writes.read_bytes()) == (0, damaged)
    assert "is damaged behind byte" in asked.stdout
    repaired = cctboard("repair", "--data", str(tmp_path), "--yes")
    assert repaired.returncode == 0, repaired.stderr
    [kept] = (tmp_path / "valkey").glob("damaged-*")
    assert (kept / writes.name).read_bytes() == damaged
    assert str(kept) in repaired.stdout
    assert runs(tmp_path) == [0]
    assert "are whole" in cctboard("repair", "--data", str(tmp_path)).stdout


@pytest.mark.parametrize("change", [lambda content: content + bytes(64), lambda content: content[:60] + bytes(20)])
def test_a_damaged_base_is_told_with_the_only_way_out(tmp_path: Path, writes: Path, change: Change) -> None:
    [base] = writes.parent.glob("*.base.rdb")
    base.write_bytes(change(base.read_bytes()))
    with pytest.raises(ServiceFailed, match="cannot be mended; restore a backup into another folder") as refused:
        runs(tmp_path)
    assert "valkey-check-aof" not in str(refused.value), "nobody has that"


@pytest.mark.parametrize("left", [None, b"", bytes(88)])
def test_writes_without_their_manifest_are_not_taken_for_an_empty_board(
    tmp_path: Path, writes: Path, left: bytes | None
) -> None:
    manifest = writes.parent / "appendonly.aof.manifest"
    content = manifest.read_bytes()
    manifest.unlink()
    if left is not None:
        manifest.write_bytes(left)
    with pytest.raises(ServiceFailed, match=f"missing or damaged; `cctboard repair --data {tmp_path}` makes it anew"):
        runs(tmp_path)
    repaired = cctboard("repair", "--data", str(tmp_path))
    assert repaired.returncode == 0, repaired.stderr
    assert manifest.read_bytes() == content
    assert runs(tmp_path) == [0, 1, 2]
