"""Backup, restore and import: the whole board, or a part of another one, as one tar archive.

`manifest.json` (with the lens's images), then `experiments/<id>.json`, `runs/<id>.json` (fields and streams) and
`checkpoints/<run id>/<file>`. A run's records are read before its checkpoint, which may therefore be newer but never
older: a run that is restored continues from the checkpoint and delivers what is missing.
"""

import io
import json
import re
import shutil
import tarfile
from dataclasses import dataclass, field
from typing import IO, Any, cast

from app.errors import Conflict, Invalid
from app.settings import Settings
from app.store.rows import State
from app.store.run_store import RunStore, new_id

FORMAT = 1
_MEMBER = re.compile(r"(experiments|runs)/([0-9a-f]{12})\.json|checkpoints/([0-9a-f]{12})/([\w-]+\.(?:pt|safetensors))")


@dataclass
class Summary:
    """What an archive held."""

    experiments: int = 0
    runs: int = 0
    skipped: int = 0
    """Runs that were here already."""
    renamed: dict[str, str] = field(default_factory=dict)
    """Ids of runs and experiments that were taken, and the new ones."""
    unfinished: int = 0


def backup(settings: Settings, store: RunStore, target: IO[bytes], version: str) -> Summary:
    """Writes everything to `target`, also while runs are trained."""
    summary = Summary()
    with tarfile.open(fileobj=target, mode="w|") as archive:
        images = {run.spec.source: store.images(run.spec.source) for run in store.runs()}
        _add(archive, "manifest.json", {"format": FORMAT, "version": version, "images": images})
        for experiment in store.experiments()[::-1]:
            _add(archive, f"experiments/{experiment.id}.json", store.dump("experiment", experiment.id))
            summary.experiments += 1
        runs = store.runs()[::-1]
        for run in runs:
            _add(archive, f"runs/{run.id}.json", store.dump("run", run.id))
            summary.runs += 1
        for run in runs:
            for path in sorted(settings.checkpoints(run.id).glob("*")):
                if path.suffix not in (".pt", ".safetensors"):
                    continue  # a file that is being written
                with path.open("rb") as file:
                    info = tarfile.TarInfo(f"checkpoints/{run.id}/{path.name}")
                    info.size = _size(file)
                    archive.addfile(info, file)
    return summary


def restore(settings: Settings, store: RunStore, source: IO[bytes]) -> Summary:
    """Reads an archive into an empty board; unfinished runs are queued again. Raises `Conflict`, `Invalid`."""
    if store.runs() or store.experiments():
        raise Conflict(f"the board holds {len(store.runs())} runs; restore into an empty one, or use import")
    return _read(settings, store, source, State.queued)


def import_archive(settings: Settings, store: RunStore, source: IO[bytes]) -> Summary:
    """Adds an archive to what is here: a run that is here already is skipped, another of the same id gets a new one.

    Unfinished runs arrive as cancelled; a retry continues them. Raises `Invalid`.
    """
    return _read(settings, store, source, State.cancelled)


def _read(settings: Settings, store: RunStore, source: IO[bytes], unfinished: State) -> Summary:
    summary, paused = Summary(), store.paused()
    store.pause(True)  # a run must not be claimed before its checkpoint is here
    try:
        with tarfile.open(fileobj=source, mode="r|*") as archive:
            for member in archive:
                content = archive.extractfile(member)
                if content is None:
                    raise Invalid("archive", f"{member.name!r} is not a file")
                _take(settings, store, member.name, content, unfinished, summary)
    except (tarfile.ReadError, json.JSONDecodeError) as error:
        raise Invalid("archive", f"is not an archive of a board, or damaged: {error}") from error
    finally:
        store.pause(paused)
    return summary


def _take(
    settings: Settings, store: RunStore, name: str, content: IO[bytes], unfinished: State, summary: Summary
) -> None:
    if name == "manifest.json":
        manifest = json.load(content)
        if (found := manifest.get("format")) != FORMAT:
            raise Invalid("archive", f"has format {found}; this version reads format {FORMAT}")
        for dataset, images in manifest["images"].items():
            if not store.images(dataset):
                store.set_images(dataset, images)
        return
    if not (match := _MEMBER.fullmatch(name)):
        raise Invalid("archive", f"holds {name!r}, which no backup writes")
    kind, row_id, run_id, file_name = match.groups()
    if run_id:
        folder = settings.checkpoints(summary.renamed.get(run_id, run_id))
        if not (folder / file_name).exists():
            folder.mkdir(parents=True, exist_ok=True)
            partial = folder / f"{file_name}.partial"
            with partial.open("wb") as file:
                shutil.copyfileobj(content, file)
            partial.replace(folder / file_name)
        return
    dump = cast(dict[str, Any], json.load(content))
    fields = dump["fields"]
    fields["experiment_id"] = summary.renamed.get(fields.get("experiment_id"), fields.get("experiment_id"))
    if fields.get("state") in (State.queued, State.running):
        summary.unfinished += 1
        fields["state"] = unfinished
    outcome = store.load(kind.removesuffix("s"), row_id, dump)
    if outcome == "taken":
        summary.renamed[row_id] = fields["id"] = new_id()
        outcome = store.load(kind.removesuffix("s"), fields["id"], dump)
    if outcome == "known":
        summary.skipped += kind == "runs"
    elif kind == "runs":
        summary.runs += 1
    else:
        summary.experiments += 1


def _size(file: IO[bytes]) -> int:
    size = file.seek(0, io.SEEK_END)
    file.seek(0)
    return size


def _add(archive: tarfile.TarFile, name: str, content: Any) -> None:
    data = json.dumps(content).encode()
    info = tarfile.TarInfo(name)
    info.size = len(data)
    archive.addfile(info, io.BytesIO(data))
