"""Backup, restore and import: the whole board, or a part of another one, as one archive (`archive_file.py`).

A run's records are read before its checkpoint, which may therefore be newer but never older: a run that is restored
continues from the checkpoint and delivers what is missing. Nothing is changed before the whole archive was checked;
checkpoints arrive before their runs, so that no run is ever here without.
"""

import shutil
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import IO, Any, Literal

from pydantic import ValidationError
from redis.exceptions import RedisError

from app.errors import Conflict, Invalid
from app.settings import Settings
from app.store.archive_file import ArchiveWriter, WholeArchive, whole_archive
from app.store.rows import Experiment, Run, State
from app.store.run_store import RunStore, new_id
from cct.whole_file import whole_file


@dataclass
class Summary:
    """What an archive held."""

    experiments: int = 0
    runs: int = 0
    skipped: int = 0
    """Runs that were here already."""
    completed: int = 0
    """Those of the skipped runs that lacked a checkpoint or weights, which they got."""
    renamed: dict[str, str] = field(default_factory=dict)
    """Ids of runs and experiments that were taken, and the new ones."""
    unfinished: int = 0


@dataclass(frozen=True)
class _Row:
    """A row that the archive holds, and where it goes."""

    kind: Literal["experiment", "run"]
    member: str
    id: str
    """Its id on this board."""
    is_known: bool
    """Whether this very row is here already."""


def backup(settings: Settings, store: RunStore, target: IO[bytes], version: str) -> Summary:
    """Writes everything to `target`, also while runs are trained. Raises `OSError`, `RedisError`."""
    summary = Summary()
    runs = store.runs()[::-1]  # before the experiments: whatever a run belongs to is there, too
    images = {run.spec.source: store.images(run.spec.source) for run in runs}
    poolings = store.poolings.told(run.spec for run in runs)
    archive = ArchiveWriter(target, version, images=images, poolings=poolings)
    for experiment in store.experiments()[::-1]:
        summary.experiments += _add_row(archive, store, "experiment", experiment.id)
    kept = [run for run in runs if _add_row(archive, store, "run", run.id)]
    summary.runs = len(kept)
    for run in kept:
        with ExitStack() as stack:
            for name, file in _open_checkpoints(settings, run.id, stack):
                archive.add_file(f"checkpoints/{run.id}/{name}", file)
    archive.close()
    return summary


def _open_checkpoints(settings: Settings, run_id: str, stack: ExitStack) -> list[tuple[str, IO[bytes]]]:
    """Names and files of one attempt at the run, but for what is being written; a deleted run has none."""
    while True:
        paths = sorted(settings.checkpoints(run_id).glob("*"))
        try:
            return [
                (path.name, stack.enter_context(path.open("rb")))
                for path in paths
                if path.suffix in (".pt", ".safetensors", ".npz")
            ]
        except FileNotFoundError:
            continue  # another attempt has just begun, or the run is being deleted


def _add_row(archive: ArchiveWriter, store: RunStore, kind: Literal["experiment", "run"], row_id: str) -> bool:
    """Whether the row was still there."""
    dump = store.dump(kind, row_id)
    if dump["fields"]:
        archive.add_json(f"{kind}s/{row_id}.json", dump)
    return bool(dump["fields"])


def restore(settings: Settings, store: RunStore, source: IO[bytes]) -> Summary:
    """Reads an archive into an empty board; unfinished runs are queued again. Raises `Conflict`, `Invalid`."""
    if store.runs() or store.experiments():
        raise Conflict(f"the board holds {len(store.runs())} runs; restore into an empty one, or use import")
    return _read(settings, store, source, State.queued)


def import_archive(settings: Settings, store: RunStore, source: IO[bytes]) -> Summary:
    """Adds an archive to what is here: a run that is here already is skipped, another of the same id gets a new one.

    A run that is here without its checkpoints gets them. Unfinished runs arrive as cancelled; a retry continues them.
    Raises `Invalid`.
    """
    return _read(settings, store, source, State.cancelled)


def _read(settings: Settings, store: RunStore, source: IO[bytes], unfinished: State) -> Summary:
    with whole_archive(source, settings.data) as archive:
        experiments = [
            _row(archive, member, "experiment", Experiment, {row.id: row.created_at for row in store.experiments()})
            for member in archive.names("experiments")
        ]
        here = {run.id: run.created_at for run in store.runs()}
        runs = [_row(archive, member, "run", Run, here) for member in archive.names("runs")]
        store.poolings.bring(archive.manifest.get("poolings", {}))  # else runs could not be trained on
        written: list[Path] = []
        was_paused = store.paused()
        store.pause(True)  # a run that has arrived must not be claimed while the rest may still fail
        try:
            summary = _load(settings, store, archive, [*experiments, *runs], unfinished, written)
        except BaseException:
            _undo(store, [row for row in (*runs, *experiments) if not row.is_known], written)
            raise
        finally:
            store.pause(was_paused)
        for source_name, images in archive.manifest["images"].items():
            if not store.images(source_name):
                store.set_images(source_name, images)
    return summary


def _row(
    archive: WholeArchive,
    member: str,
    kind: Literal["experiment", "run"],
    model: type[Run | Experiment],
    here: dict[str, datetime],
) -> _Row:
    try:
        row = model.model_validate(archive.read_json(member)["fields"])
    except (ValidationError, ValueError, KeyError) as error:
        reason = error.errors()[0]["msg"] if isinstance(error, ValidationError) else error
        raise Invalid(
            "archive",
            f"was written by version {archive.manifest.get('version')}, and this version cannot read {member} in it "
            f"({reason}); use that version or a newer one",
        ) from error
    old_id = _id(member)
    is_known = here.get(old_id) == row.created_at
    return _Row(kind, member, new_id() if old_id in here and not is_known else old_id, is_known)


def _id(member: str) -> str:
    """The id in `runs/<id>.json` or `checkpoints/<id>/<file>`."""
    return member.split("/")[1].removesuffix(".json")


def _load(
    settings: Settings,
    store: RunStore,
    archive: WholeArchive,
    rows: Sequence[_Row],
    unfinished: State,
    written: list[Path],
) -> Summary:
    """Brings checkpoints and rows; each file that it writes is appended to `written`."""
    summary = Summary(renamed={_id(row.member): row.id for row in rows if _id(row.member) != row.id})
    runs = {_id(row.member): row for row in rows if row.kind == "run"}
    deleted = set(store.garbage())
    completed = set()
    for name in archive.names("checkpoints"):
        if not (run := runs.get(_id(name))):
            raise Invalid("archive", f"holds {name}, but not its run")
        folder = settings.checkpoints(run.id)
        if run.id in deleted and not run.is_known:  # else a worker would take what arrives for what is to be removed
            shutil.rmtree(folder, ignore_errors=True)
            store.collected(run.id)
            deleted.remove(run.id)
        path = folder / Path(name).name
        if path.exists():
            continue
        folder.mkdir(parents=True, exist_ok=True)
        written.append(path)
        with archive.open(name) as content, whole_file(path) as file:
            shutil.copyfileobj(content, file, 1 << 20)
        if run.is_known:
            completed.add(run.id)
    summary.completed = len(completed)
    for row in rows:
        if row.is_known:
            summary.skipped += row.kind == "run"
            continue
        dump = archive.read_json(row.member)
        summary.unfinished += _adapt(dump["fields"], row, summary.renamed, unfinished)
        store.load(row.kind, row.id, dump)
        if row.kind == "run":
            summary.runs += 1
        else:
            summary.experiments += 1
    # Where runs are queued again plans go on, and where they arrive as cancelled plans do so too.
    for row in rows:
        if row.kind == "experiment":
            store.has_arrived(row.id, "open" if unfinished is State.queued else "cancelled")
    return summary


def _adapt(fields: dict[str, Any], row: _Row, renamed: dict[str, str], unfinished: State) -> bool:
    """Gives a row the ids that it has here, and a state in which it may arrive; whether it was unfinished."""
    fields["id"] = row.id
    for link in ("experiment_id", "follows", "confirms", "extends"):
        if experiment := fields.get(link):
            fields[link] = renamed.get(experiment, experiment)
    if fields.get("plan_state") == "open":
        fields["plan_state"] = "arriving"  # a plan without its runs would queue them all anew
    is_unfinished = fields.get("state") in (State.queued, State.running)
    if is_unfinished:
        fields["state"] = unfinished
    return is_unfinished


def _undo(store: RunStore, rows: Sequence[_Row], written: Sequence[Path]) -> None:
    """Removes what has arrived of an archive; if the database is away all of it stays, which an import completes."""
    try:
        here = {run.id for run in store.runs()} | {experiment.id for experiment in store.experiments()}
        for row in rows:
            if row.id not in here:
                continue
            if row.kind == "experiment":
                store.delete_experiment(row.id)
            else:
                store.delete(row.id)
                store.collected(row.id)
    except RedisError:
        return  # the error that led here tells of it
    for path in written:
        path.unlink(missing_ok=True)
    for folder in {path.parent for path in written}:
        if not any(folder.iterdir()):
            folder.rmdir()
