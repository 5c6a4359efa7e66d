"""Backup into an archive, restore into an empty board, import into one that is not."""

import bz2
import errno
import gzip
import io
import lzma
import os
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import pytest

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
    with pytest.raises(Invalid, match=r"which no backup writes|does not begin with manifest\.json"):
        restore(*other, content)


@pytest.mark.parametrize("content", [b"", b"not a tar file" * 1000])
def test_what_is_no_archive_is_refused(other: tuple[Settings, RunStore], content: bytes) -> None:
    with pytest.raises(Invalid, match="not an archive"):
        restore(*other, io.BytesIO(content))


def members(archive: bytes) -> list[tarfile.TarInfo]:
    with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
        return tar.getmembers()


def is_empty(settings: Settings, store: RunStore) -> bool:
    files = [path for path in settings.data.rglob("*") if path.is_file()] if settings.data.exists() else []
    return not (store.runs() or store.experiments() or files or store.images("digits"))


OLD = Path(__file__).parent / "board-0.1.tar"
"""Written by version 0.1: an experiment of two completed runs, a running and a queued one, and a queued run alone."""


@pytest.mark.parametrize("format_", [1, 2])
def test_an_archive_that_is_cut_anywhere_leaves_nothing(
    settings: Settings, filled: RunStore, other: tuple[Settings, RunStore], format_: int
) -> None:
    whole = OLD.read_bytes() if format_ == 1 else archived(settings, filled).getvalue()
    starts = [member.offset for member in members(whole)]
    end = members(whole)[-1].offset_data + 512  # of what is not yet zeros
    assert end < len(whole)
    for cut in [*starts, *(start + 600 for start in starts), end, end + 512]:
        with pytest.raises(Invalid, match=r"cut off|damaged"):
            restore(*other, io.BytesIO(whole[:cut]))
        assert is_empty(*other), cut


@pytest.mark.parametrize("format_", [1, 2])
def test_a_changed_byte_is_noticed_or_changes_nothing(
    settings: Settings, filled: RunStore, other: tuple[Settings, RunStore], format_: int
) -> None:
    """Also one in a header, at which tar programs stop as if it were the end. Format 1 has no checksums of content."""
    whole = OLD.read_bytes() if format_ == 1 else archived(settings, filled).getvalue()
    for member in members(whole):
        places = [member.offset + 3, member.offset + 130, member.offset + 150]
        if format_ == 2:
            places += [member.offset_data, member.offset_data + member.size - 2]
        for place in places:
            damaged = bytearray(whole)
            damaged[place] ^= 4
            with pytest.raises(Invalid):
                restore(*other, io.BytesIO(bytes(damaged)))
            assert is_empty(*other), member.name


def test_an_archive_with_another_content_than_it_says_is_refused(
    settings: Settings, filled: RunStore, other: tuple[Settings, RunStore]
) -> None:
    whole = archived(settings, filled).getvalue()
    for left_out in (name.name for name in members(whole) if name.name not in ("manifest.json", "contents.json")):
        less = io.BytesIO()
        with tarfile.open(fileobj=io.BytesIO(whole)) as old, tarfile.open(fileobj=less, mode="w") as new:
            for member in old:
                if member.name != left_out:
                    new.addfile(member, old.extractfile(member))
        less.seek(0)
        with pytest.raises(Invalid, match=left_out):
            import_archive(*other, less)
        assert is_empty(*other)


def test_an_archive_of_version_0_1_is_read(other: tuple[Settings, RunStore]) -> None:
    elsewhere, store = other
    with OLD.open("rb") as file:
        summary = restore(elsewhere, store, file)
    assert (summary.experiments, summary.runs, summary.unfinished) == (1, 5, 3)
    [experiment] = store.experiments()
    assert (experiment.name, experiment.completed, experiment.queued) == ("Poolings of version 0.1", 2, 2)
    [alone] = [run for run in store.runs() if run.experiment_id is None]
    assert (alone.note, alone.tags, alone.priority) == ("<b>odd</b>", ["ä", "b"], 3)
    trained = [run for run in store.runs() if run.epoch]
    assert sorted(len(records) for records in store.epochs(run.id for run in trained)) == [2, 3, 3]
    for run in trained:
        last = elsewhere.checkpoints(run.id) / "last.pt"
        assert last.read_text() == f"last of {run.id}" * 20
    assert len(store.images("digits")) == 1


class Dreaming(RunStore):
    """A newer version's store, whose newest run is in a state that this version does not know."""

    def dump(self, kind: Literal["run", "experiment"], row_id: str) -> dict[str, Any]:
        dump = super().dump(kind, row_id)
        if row_id == self.runs()[0].id:
            dump["fields"]["state"] = "dreaming"
        return dump


def test_an_archive_of_a_newer_version_names_it(
    settings: Settings, filled: RunStore, other: tuple[Settings, RunStore]
) -> None:
    newer = io.BytesIO()
    with tarfile.open(fileobj=newer, mode="w") as archive:
        content = b'{"format": 3, "version": "9.0"}'
        info = tarfile.TarInfo("manifest.json")
        info.size = len(content)
        archive.addfile(info, io.BytesIO(content))
    newer.seek(0)
    with pytest.raises(Invalid, match=r"has format 3, written by version 9\.0; this version reads formats 1 to 2"):
        restore(*other, newer)
    target = io.BytesIO()
    backup(settings, Dreaming(settings), target, "9.1")
    target.seek(0)
    run = filled.runs()[0]
    with pytest.raises(Invalid, match=rf"version 9\.1, and this version cannot read runs/{run.id}\.json in it"):
        restore(*other, target)
    assert is_empty(*other)


FULL_DISK = """
import io, resource, signal, sys
from pathlib import Path
from pydantic import RedisDsn
from app.settings import Settings
from app.store.archive import import_archive
from app.store.run_store import RunStore

settings = Settings(redis_url=RedisDsn(sys.argv[1]), data=Path(sys.argv[2]))
resource.setrlimit(resource.RLIMIT_FSIZE, (5000, 5000))
try:
    import_archive(settings, RunStore(settings, prefix="other:"), io.BytesIO(Path(sys.argv[3]).read_bytes()))
except OSError as error:
    sys.exit(error.errno)
"""


def test_a_disk_that_is_full_half_way_leaves_what_was_here(
    settings: Settings, filled: RunStore, other: tuple[Settings, RunStore], tmp_path: Path
) -> None:
    elsewhere, target = other
    [own] = target.create_runs([SPEC])
    elsewhere.checkpoints(own.id).mkdir(parents=True)
    (elsewhere.checkpoints(own.id) / "last.pt").write_bytes(b"own")
    archive = tmp_path / "board.tar"
    archive.write_bytes(archived(settings, filled).getvalue())
    arguments = [str(settings.redis_url), str(elsewhere.data), str(archive)]
    done = subprocess.run([sys.executable, "-c", FULL_DISK, *arguments], capture_output=True, text=True)
    assert done.returncode == errno.EFBIG, done.stderr
    assert target.runs() == [own]
    assert not target.experiments()
    assert [path.name for path in (elsewhere.data / "checkpoints").rglob("*")] == [own.id, "last.pt"]
    assert not target.paused()
    assert import_archive(elsewhere, target, archived(settings, filled)).runs == 4


def test_an_import_completes_what_is_here_without_checkpoints(
    settings: Settings, filled: RunStore, other: tuple[Settings, RunStore]
) -> None:
    """As an archive that was cut after its runs left them before version 0.2."""
    elsewhere, target = other
    archive = archived(settings, filled)
    restore(elsewhere, target, archive)
    shutil.rmtree(elsewhere.data / "checkpoints")
    archive.seek(0)
    summary = import_archive(elsewhere, target, archive)
    assert (summary.runs, summary.skipped, summary.completed) == (0, 4, 2)
    arrived, sent = ({p.relative_to(s.data) for p in s.data.glob("checkpoints/*/*")} for s in (elsewhere, settings))
    assert arrived == {path for path in sent if path.suffix != ".tmp"}


def test_a_deleted_run_that_comes_back_keeps_its_checkpoints(settings: Settings, filled: RunStore) -> None:
    """What was deleted while no worker was there is removed by the next one."""
    archive = archived(settings, filled)
    [done] = [run for run in filled.runs() if run.state is State.completed]
    filled.delete(done.id)
    (settings.checkpoints(done.id) / "last.pt").write_bytes(b"of the deleted one")
    assert import_archive(settings, filled, archive).runs == 1
    assert filled.garbage() == []
    assert (settings.checkpoints(done.id) / "last.pt").read_bytes() == done.id.encode() * 1000


class Deleting(RunStore):
    """A store from which somebody deletes all runs that may be deleted as soon as the first row was read."""

    def dump(self, kind: Literal["run", "experiment"], row_id: str) -> dict[str, Any]:
        dump = super().dump(kind, row_id)
        for run in self.runs():
            if run.state is not State.running:
                self.delete(run.id)
        return dump


def test_what_is_deleted_during_a_backup_is_left_out(settings: Settings, filled: RunStore) -> None:
    target = io.BytesIO()
    assert backup(settings, Deleting(settings), target, "0.2.0").runs == 1
    target.seek(0)
    assert restore(settings, RunStore(settings, prefix="again:"), target).runs == 1


@pytest.mark.parametrize("mode", ["w:gz", "w:bz2", "w:xz"])
def test_an_archive_may_be_compressed(
    settings: Settings, filled: RunStore, other: tuple[Settings, RunStore], mode: str
) -> None:
    compress: Any = {"w:gz": gzip.compress, "w:bz2": bz2.compress, "w:xz": lzma.compress}[mode]
    packed = compress(archived(settings, filled).getvalue())
    with pytest.raises(Invalid):
        restore(*other, io.BytesIO(packed[: len(packed) // 2]))
    damaged = bytearray(packed)
    damaged[len(packed) // 2] ^= 255
    with pytest.raises(Invalid):
        restore(*other, io.BytesIO(bytes(damaged)))
    assert is_empty(*other)
    assert restore(*other, io.BytesIO(packed)).runs == 4


def test_a_stream_is_checked_before_anything_of_it_arrives(
    settings: Settings, filled: RunStore, other: tuple[Settings, RunStore]
) -> None:
    whole = archived(settings, filled).getvalue()

    def through_a_pipe(content: bytes) -> int:
        reading, writing = os.pipe()
        with os.fdopen(writing, "wb") as writer:
            writer.write(content)
        with os.fdopen(reading, "rb") as reader:
            return restore(*other, reader).runs

    assert len(whole) < 65536, "fits into a pipe"
    with pytest.raises(Invalid):
        through_a_pipe(whole[: members(whole)[-1].offset])
    assert is_empty(*other)
    assert through_a_pipe(whole) == 4
