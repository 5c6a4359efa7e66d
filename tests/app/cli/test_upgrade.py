"""A board of version 0.1: its data folder and its archive hold everything for this version.

The fixture was made by commit 3e4ace7: an experiment of two runs of one epoch on digits, one with a note and a tag,
and a queued run in a paused queue; `answers.json` is what that board's API said. Checkpoints were left out.
"""

import gzip
import io
import json
import tarfile
from pathlib import Path
from typing import Any

import httpx2 as httpx
import pytest
from pydantic import RedisDsn

from app.cli.board import running
from app.cli.services import free_port
from app.settings import Settings
from app.store.archive import import_archive, restore
from app.store.rows import State
from app.store.run_store import RunStore

FIXTURE = Path(__file__).parent.parent.parent / "fixtures" / "version-0.1"
ARCHIVE = gzip.decompress((FIXTURE / "archive.tar.gz").read_bytes())


@pytest.fixture
def told() -> dict[str, list[dict[str, Any]]]:
    return dict(json.loads((FIXTURE / "answers.json").read_text()))


def archived(run_id: str) -> dict[str, Any]:
    with tarfile.open(fileobj=io.BytesIO(ARCHIVE)) as tar:
        member = tar.extractfile(f"runs/{run_id}.json")
        assert member is not None
        return dict(json.load(member))


def same(old: list[dict[str, Any]], new: list[dict[str, Any]]) -> None:
    """Fields that this version adds are its own."""
    assert [_known(row, before) for before, row in zip(old, new, strict=True)] == old


def _known(row: dict[str, Any], before: dict[str, Any]) -> dict[str, Any]:
    """Of the row, and of the spec in it, the fields that there were before."""
    known = {name: row[name] for name in before}
    return known | {"spec": {name: row["spec"][name] for name in before["spec"]}}


def test_a_data_folder_of_version_0_1_starts_with_all_it_held(
    tmp_path: Path, told: dict[str, list[dict[str, Any]]]
) -> None:
    with tarfile.open(FIXTURE / "data.tar.gz") as tar:
        tar.extractall(tmp_path, filter="data")
    port = free_port()
    with (
        running(tmp_path, "127.0.0.1", port, workers=0, redis_url=None) as services,
        httpx.Client(base_url=f"http://127.0.0.1:{port}") as client,
    ):
        same(told["runs"], client.get("/runs").json()["runs"])
        same(told["experiments"], client.get("/experiments").json()["experiments"])
        assert client.get("/queue").json()["paused"]
        store = RunStore(Settings(redis_url=RedisDsn(services.redis_url), data=tmp_path))
        for run in told["runs"]:
            streams = archived(run["id"])["streams"]
            assert len(client.get(f"/runs/{run['id']}/epochs").json()) == run["epoch"] == len(streams["epochs"])
            for part in ("epochs", "log", "history", "lens", "confusion"):
                kept: Any = store.redis.xrange(store.key("run", run["id"], part))
                assert [[entry, *(x for pair in fields.items() for x in pair)] for entry, fields in kept] == streams[
                    part
                ], part
    with running(tmp_path, "127.0.0.1", port, workers=0, redis_url=None):
        same(told["runs"], httpx.get(f"http://127.0.0.1:{port}/runs").json()["runs"])


@pytest.mark.parametrize("read", [restore, import_archive])
def test_an_archive_of_version_0_1_is_read(
    settings: Settings, store: RunStore, told: dict[str, list[dict[str, Any]]], read: Any
) -> None:
    read(settings, store, io.BytesIO(ARCHIVE))
    runs = [run.model_dump(mode="json") for run in store.runs()]
    for run, before in zip(runs, told["runs"], strict=True):
        if before["state"] == State.queued:
            before |= {"state": State.queued if read is restore else State.cancelled}
        assert {name: run[name] for name in ("id", "state", "note", "tags", "epoch", "best_top1", "provenance")} == {
            name: before[name] for name in ("id", "state", "note", "tags", "epoch", "best_top1", "provenance")
        }
    [experiment] = store.experiments()
    assert (experiment.name, experiment.completed) == ("Two poolings of 0.1", 2)
