"""The commands that read or write a board as a whole: its database and its data folder, not its API."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import IO, TYPE_CHECKING, Annotated

import typer

from app.cli.output import Data, Json, UsageError, one_line, print_json, say
from app.settings import Settings
from cct.whole_file import whole_file

if TYPE_CHECKING:
    from app.store.archive import Summary
    from app.store.run_store import RunStore

commands = typer.Typer()

Archive = Annotated[Path, typer.Argument(help="The archive, a tar file; - for standard output or input.")]
STREAM = Path("-")


@commands.command()
def backup(archive: Archive, data: Data = None) -> None:
    """Write all runs, measurements and checkpoints to an archive, also while runs are trained."""
    from app.store.archive import backup

    if archive == STREAM and sys.stdout.isatty():
        raise UsageError("an archive is nothing to look at; name a file, or let the output go into a file or a pipe")
    with _store(data, must_exist=True) as (settings, store):
        try:
            with nullcontext(sys.stdout.buffer) if archive == STREAM else whole_file(archive) as target:
                summary = backup(settings, store, target, version("cctboard"))
        except OSError as error:
            place = "standard output" if archive == STREAM else archive
            raise UsageError(f"{error.filename or place}: {error.strerror}; no backup was written") from error
    print(f"{summary.runs} runs and {summary.experiments} experiments written", file=sys.stderr)


@commands.command()
def restore(archive: Archive, data: Data = None, as_json: Json = False) -> None:
    """Read an archive into an empty board; unfinished runs are queued."""
    from app.store.archive import restore

    _read_archive(archive, data, restore, as_json)


@commands.command("import")
def import_(archive: Archive, data: Data = None, as_json: Json = False) -> None:
    """Add the runs of an archive to this board; unfinished ones arrive as cancelled, retry continues them."""
    from app.store.archive import import_archive

    _read_archive(archive, data, import_archive, as_json)


def _read_archive(
    archive: Path,
    data: Path | None,
    read: "Callable[[Settings, RunStore, IO[bytes]], Summary]",
    as_json: bool,
) -> None:
    try:
        source = nullcontext(sys.stdin.buffer) if archive == STREAM else archive.open("rb")
    except OSError as error:
        raise UsageError(f"{archive}: {error.strerror}; name an archive that `cctboard backup` has written") from error
    with source as file, _store(data) as (settings, store):
        try:
            summary = read(settings, store, file)
        except OSError as error:
            reason = f"{error.filename or settings.data}: {error.strerror}"
            raise UsageError(f"{reason}; nothing of the archive was kept") from error
    if as_json:
        print_json(asdict(summary))
        return
    say(f"{summary.runs} runs and {summary.experiments} experiments read")
    if summary.skipped:
        say(f"{summary.skipped} runs were here already")
    if summary.completed:
        say(f"{summary.completed} of those got checkpoints that they lacked")
    for old, new in summary.renamed.items():
        say(f"{old} is {new} here, as its id was taken")
    if summary.unfinished:
        say(f"{summary.unfinished} of them were unfinished")


@contextmanager
def _store(data: Path | None, must_exist: bool = False) -> "Iterator[tuple[Settings, RunStore]]":
    """The run store itself, for what is too large for the API: of the settings, or of the board in a data folder."""
    from app.cli.database import FOLDER, database
    from app.store.board import check_folder
    from app.store.run_store import RunStore

    settings = Settings()
    settings = settings.model_copy(update={"data": data or settings.data})
    with one_line():
        if settings.names_database:
            store = RunStore(settings)
            check_folder(store, settings.data)
            yield settings, store
            return
        if must_exist and not settings.data.is_file() and not (settings.data / FOLDER).is_dir():
            raise UsageError(f"there is no board in {settings.data.absolute()}; name its folder with --data")
        with database(settings.data) as url:
            settings = settings.model_copy(update={"redis_url": url})
            store = RunStore(settings)
            check_folder(store, settings.data)
            yield settings, store
