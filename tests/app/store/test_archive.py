"""Backup into an archive, restore into an empty board, import into one that is not."""

import io
import json
import subprocess
import sys
import tarfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from pydantic import RedisDsn

from app.cli.services import database
from app.errors import Conflict, Invalid
from app.settings import Settings
from app.store.archive import backup, import_archive, restore
from app.store.lease import Lease
from app.store.rows import Run, State
from app.store.run_store import RunStore
from tests.app.store.test_store import RECORD, SPEC


@pytest.fixture
def filled(store: RunStore, claim: Callable[[], Lease], settings: Settings) -> RunStore:
    """An experiment with a completed, a running and a queued run, and a failed run of its own."""
    specs = [replace(SPEC, seed=seed) for seed in range(3)]
    store.create_experiment("Seeds", {"dataset": "digits"}, {"seed": [0, 1, 2]}, specs)
    done, running = claim(), claim()
    for epoch in (1, 2, 3):
        done.record_epoch(replace(RECORD, epoch=epoch))
    done.log(["first line"])
    done.release(State.completed)
    running.record_epoch(RECORD)
    for lease in (done, running):
        folder = settings.checkpoints(lease.run_id)
        folder.mkdir(parents=True)
        (folder / "last.pt").write_bytes(lease.run_id.encode() * 1000)
        (folder / "best.pt.1234.tmp").write_bytes(b"half")
    (settings.checkpoints(done.run_id) / "best.safetensors").write_bytes(b"weights")
    [alone] = store.create_runs([replace(SPEC, seed=9)], priority=1)
    claim().release(State.failed, "out of memory")
    store.edit(alone.id, {"note": "<b>odd</b>", "tags": ["ä", "b"]})
    return store


@pytest.fixture
def other(settings: Settings, store: RunStore, tmp_path: Path) -> tuple[Settings, RunStore]:
    """Another, empty board in the database that `store` emptied."""
    elsewhere = settings.model_copy(update={"data": tmp_path / "other"})
    return elsewhere, RunStore(elsewhere, prefix="other:")


def archived(settings: Settings, store: RunStore) -> io.BytesIO:
    target = io.BytesIO()
    backup(settings, store, target, "0.1.0")
    target.seek(0)
    return target


def lasting(run: Run) -> dict[str, object]:
    return run.model_dump(exclude={"state", "worker", "step", "steps", "epoch_seconds", "eta_seconds", "finished_at"})


def test_a_restored_board_has_everything(
    settings: Settings, filled: RunStore, other: tuple[Settings, RunStore]
) -> None:
    elsewhere, copy = other
    summary = restore(elsewhere, copy, archived(settings, filled))
    assert (summary.experiments, summary.runs, summary.unfinished) == (1, 4, 2)
    before, after = filled.runs(), copy.runs()
    assert [lasting(run) for run in after] == [lasting(run) for run in before]
    assert {run.spec.seed: run.state for run in after} == {9: "failed", 0: "completed", 1: "queued", 2: "queued"}
    for run in before:
        assert copy.epochs([run.id]) == filled.epochs([run.id])
        assert copy.log(run.id) == filled.log(run.id)
        assert copy.history(run.id) == filled.history(run.id)
        left, arrived = (
            {f.name: f.read_bytes() for f in s.checkpoints(run.id).glob("*")} for s in (settings, elsewhere)
        )
        left.pop("best.pt.1234.tmp", None)
        assert arrived == left
    [done] = [run for run in before if run.state is State.completed]
    assert (elsewhere.checkpoints(done.id) / "best.safetensors").read_bytes() == b"weights"
    [experiment] = copy.experiments()
    [origin] = filled.experiments()
    assert (experiment.queued, experiment.running, experiment.completed) == (2, 0, 1)
    assert (experiment.epochs_done, experiment.epochs_total) == (origin.epochs_done, origin.epochs_total) == (4, 9)
    assert experiment.seconds == pytest.approx(origin.seconds)
    again = copy.claim("w")
    assert again is not None
    assert copy.run(again.run_id).spec.seed == 1, "the run that had begun continues first"
    assert not copy.paused()


def test_only_an_empty_board_is_restored_into(settings: Settings, filled: RunStore) -> None:
    with pytest.raises(Conflict, match="use import"):
        restore(settings, filled, archived(settings, filled))


def test_an_import_adds_what_is_not_here(
    settings: Settings, filled: RunStore, other: tuple[Settings, RunStore]
) -> None:
    elsewhere, target = other
    [own] = target.create_runs([SPEC])
    archive = archived(settings, filled)
    summary = import_archive(elsewhere, target, archive)
    assert (summary.runs, summary.skipped, summary.renamed) == (4, 0, {})
    assert {run.state for run in target.runs() if run.id != own.id} == {"completed", "failed", "cancelled"}
    assert target.queued() == 1, "nobody's unfinished runs are trained unasked"
    archive.seek(0)
    repeated = import_archive(elsewhere, target, archive)
    assert (repeated.runs, repeated.skipped) == (0, 4)
    assert len(target.runs()) == 5


def test_an_id_that_is_taken_gets_a_new_one(
    settings: Settings, filled: RunStore, other: tuple[Settings, RunStore]
) -> None:
    elsewhere, target = other
    [experiment] = filled.experiments()
    run = filled.experiment_runs(experiment.id)[0]
    for kind, row in (("run", run.id), ("experiment", experiment.id)):
        dump = filled.dump(kind, row)  # type: ignore[arg-type]
        dump["fields"]["created_at"] = "1000"
        dump["fields"].pop("experiment_id", None)
        target.load(kind, row, dump)
    summary = import_archive(elsewhere, target, archived(settings, filled))
    assert set(summary.renamed) == {run.id, experiment.id}
    new_run = target.run(summary.renamed[run.id])
    assert new_run.experiment_id == summary.renamed[experiment.id]
    assert len(target.experiment_runs(summary.renamed[experiment.id])) == 3
    assert target.epochs([new_run.id]) == filled.epochs([run.id])
    copied = elsewhere.checkpoints(new_run.id) / "last.pt"
    assert copied.read_bytes() == (settings.checkpoints(run.id) / "last.pt").read_bytes()


@pytest.mark.parametrize(
    "name", ["../../evil.pt", "checkpoints/../x.pt", "/etc/passwd", "runs/nope.json", "checkpoints/0123456789ab/a/b.pt"]
)
def test_a_foreign_archive_writes_nothing_elsewhere(other: tuple[Settings, RunStore], name: str) -> None:
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w") as archive:
        archive.addfile(tarfile.TarInfo(name), io.BytesIO())
    content.seek(0)
    with pytest.raises(Invalid, match="which no backup writes"):
        restore(*other, content)


@pytest.mark.parametrize("content", [b"", b"not a tar file" * 1000])
def test_what_is_no_archive_is_refused(other: tuple[Settings, RunStore], content: bytes) -> None:
    with pytest.raises(Invalid, match="not an archive"):
        restore(*other, io.BytesIO(content))


def test_the_command_line_carries_a_board_to_another_folder(tmp_path: Path) -> None:
    """With the embedded databases of two data folders, started for as long as the commands need them."""

    def cctboard(*arguments: str, data: Path) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "app.cli", *arguments, "--data", str(data)]
        return subprocess.run(command, capture_output=True, text=True, timeout=60)

    one, two, archive = tmp_path / "one", tmp_path / "two", tmp_path / "board.tar"
    with database(one) as url:
        [run] = RunStore(Settings(redis_url=RedisDsn(url), data=one)).create_runs([SPEC])
    assert cctboard("backup", str(archive), data=one).returncode == 0
    with tarfile.open(archive) as tar:
        manifest = tar.extractfile("manifest.json")
        assert manifest is not None
        assert json.load(manifest)["format"] == 1
    restored = cctboard("restore", str(archive), data=two)
    assert (restored.returncode, "1 runs" in restored.stdout) == (0, True), restored.stderr
    refused = cctboard("restore", str(archive), data=two)
    assert (refused.returncode, refused.stderr.count("\n")) == (2, 1)
    assert "use import" in refused.stderr
    missing = cctboard("import", str(tmp_path / "nope.tar"), data=two)
    assert (missing.returncode, missing.stderr) == (2, f"cctboard: there is no file {tmp_path}/nope.tar\n")
    nowhere = cctboard("backup", str(tmp_path / "no" / "board.tar"), data=two)
    reason = f"cctboard: {tmp_path}/no/board.tar: No such file or directory\n"
    assert (nowhere.returncode, nowhere.stderr) == (2, reason)
    with database(two) as url:
        assert [r.id for r in RunStore(Settings(redis_url=RedisDsn(url), data=two)).runs()] == [run.id]
