"""What the command line prints: users' text as it is, tables that fit the terminal, JSON."""

import json
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, RenderResult
from rich.table import Table
from rich.text import Text

NO_TERMINAL_WIDTH = 10_000
"""Whatever reads a pipe or a file gets a line for each row."""

Data = Annotated[Path | None, typer.Option(help="Folder of database, datasets and checkpoints.", show_default="data")]
Json = Annotated[bool, typer.Option("--json", help="Print the API's answer as JSON.")]


def _width() -> int | None:
    return None if sys.stdout.isatty() or "COLUMNS" in os.environ else NO_TERMINAL_WIDTH


console = Console(markup=False, emoji=False, highlight=False, width=_width())
"""Takes no text for markup: names and errors may hold anything."""


class UsageError(Exception):
    """What the user must change, in one line."""


def visible(text: str) -> str:
    """The text in one line: what would end the line or steer the terminal becomes an escape sequence."""
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)


def say(text: str) -> None:
    """Prints one line, however long, so that a path in it can be copied."""
    print(visible(text), flush=True)


def print_json(answer: Any) -> None:
    print(json.dumps(answer, indent=2))


def tell(answer: Any, as_json: bool, message: str) -> None:
    """Prints the API's answer, or what it means."""
    if as_json:
        print_json(answer)
    else:
        say(message)


@contextmanager
def writing(path: Path, option: str) -> Iterator[None]:
    """Turns the reason for which `path` cannot be written into a `UsageError` that names the option."""
    try:
        yield
    except OSError as error:
        place = error.filename or path
        raise UsageError(f"{place} cannot be written: {error.strerror}; name another place with {option}") from error


@contextmanager
def one_line() -> Iterator[None]:
    """Turns what keeps data folder, processes or database from being used into a `UsageError`."""
    from redis.exceptions import RedisError

    from app.cli.data_folder import FolderRefused
    from app.cli.services import ServiceFailed
    from app.errors import BoardError

    try:
        yield
    except (BoardError, FolderRefused, ServiceFailed) as error:
        raise UsageError(str(error)) from error
    except RedisError as error:
        raise UsageError(f"the database does not answer: {error}") from error


@dataclass(frozen=True)
class Column:
    header: str
    cells: Sequence[str]
    rank: int = 0
    """0 for what tells rows apart, which is always shown; of the others, the highest goes first."""
    may_fold: bool = False
    """Whether a cell may take several lines, where even the columns of rank 0 are too wide together."""

    @property
    def texts(self) -> list[str]:
        return [visible(cell) for cell in self.cells]

    @property
    def width(self) -> int:
        return max(map(cell_len, (self.header, *self.texts)))


@dataclass(frozen=True)
class FittingTable:
    """A table that leaves out columns where the terminal is narrow, and says which; it cuts nothing that it shows."""

    columns: Sequence[Column]
    notes: Sequence[str] = field(default=())
    """Lines below the table."""

    def shown(self, width: int) -> list[Column]:
        """The columns that fit into a width, in their order."""
        shown = list(self.columns)
        while sum(column.width + _GAP for column in shown) - _GAP > width:
            last = max(shown, key=lambda column: column.rank)
            if last.rank == 0:
                break
            shown.remove(last)
        return shown

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        shown = self.shown(options.max_width)
        table = Table(box=None, pad_edge=False, padding=(0, _GAP, 0, 0))
        for column in shown:
            table.add_column(Text(column.header), no_wrap=not column.may_fold, overflow="fold")
        for cells in zip(*(column.texts for column in shown), strict=True):
            table.add_row(*map(Text, cells))
        yield table
        if missing := [column.header for column in self.columns if column not in shown]:
            yield Text(f"not shown in {options.max_width} columns: {', '.join(missing)}; --json has all")
        for note in self.notes:
            yield Text(visible(note), overflow="fold")


_GAP = 2
