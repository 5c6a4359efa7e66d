"""Damage of the embedded database's files, found and mended.

Valkey keeps a base file, files of the writes since (Redis's protocol, a transaction between MULTI and EXEC) and a
manifest that names them. After a loss of power a file of writes may end with zeros, and Valkey then starts no more.
"""

import mmap
import os
import re
import shutil
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

FOLDER, MANIFEST = "appendonlydir", "appendonly.aof.manifest"


@dataclass(frozen=True)
class Damage:
    """The first place at which a file of writes cannot be read."""

    file: Path
    whole: int
    """Bytes up to the end of the last whole write before it."""
    size: int
    commands: int
    """Commands that seem to stand behind it; 0 if there are only the beginning of one, or zeros."""
    since: datetime | None
    """When the last whole write was made, if the file tells; to the second."""
    later: tuple[Path, ...]
    """Files of later writes: without this one's end they cannot be used either."""

    @property
    def is_torn_end(self) -> bool:
        """Whether nothing is lost but a write that was never whole: what a loss of power leaves."""
        return not self.commands and not self.later

    def __str__(self) -> str:
        rest = f"{self.size - self.whole:,} of its {self.size:,} bytes"
        if self.is_torn_end:
            return f"{self.file} ends in the middle of a write or with zeros, as after a loss of power ({rest})"
        what = f"about {self.commands:,} commands in {rest}"
        what += f" and all of {', '.join(file.name for file in self.later)}" if self.later else ""
        when = f": what was written after {self.since:%Y-%m-%d %H:%M:%S}" if self.since else ""
        return f"{self.file} is damaged behind byte {self.whole:,}; {what} cannot be used{when}"

    def mend(self) -> Path:
        """Cuts off what cannot be used; the folder that is returned has copies of the files. Raises `OSError`."""
        kept = self.file.parent.parent / f"damaged-{datetime.now():%Y%m%d-%H%M%S}"
        kept.mkdir()
        for file in (self.file, *self.later):
            shutil.copy2(file, kept)
        for file, size in [(self.file, self.whole), *((file, 0) for file in self.later)]:
            with file.open("r+b") as opened:
                opened.truncate(size)
                os.fsync(opened.fileno())
        return kept


def find_damage(database: Path) -> Damage | None:
    """The damage of the files of writes in a database's folder. Raises `OSError`."""
    files = _files_of_writes(database)
    for number, file in enumerate(files):
        size = file.stat().st_size
        if not size:
            continue
        with file.open("rb") as opened, mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_READ) as data:
            end = size
            while end and not data[end - 1]:
                end -= 1
            whole, stopped, is_cut, since = _whole_writes(data, end)
            if whole < size:
                behind = len(re.findall(rb"\*\d+\r\n\$", data[stopped + 1 :]))
                commands = behind if is_cut else max(1, behind)
                later = tuple(after for after in files[number + 1 :] if after.stat().st_size)
                return Damage(file, whole, size, commands, since, later)
    return None


def has_lost_manifest(database: Path) -> bool:
    """Whether there are writes, but not the file that names them: Valkey would start with an empty database."""
    return any((database / FOLDER).glob("*.aof")) and not _files_of_writes(database)


def make_manifest(database: Path) -> bool:
    """Names the files of the folder anew; false if they do not tell which belong together. Raises `OSError`."""
    folder = database / FOLDER
    bases, files = list(folder.glob("*.base.*")), sorted(folder.glob("*.incr.aof"), key=_number)
    if len(bases) != 1:
        return False
    named = [*((base, "b") for base in bases), *((file, "i") for file in files)]
    partial = folder / f"{MANIFEST}.partial"
    with partial.open("w") as manifest:
        manifest.writelines(f"file {file.name} seq {_number(file)} type {kind}\n" for file, kind in named)
        manifest.flush()
        os.fsync(manifest.fileno())
    partial.replace(folder / MANIFEST)
    return True


def _files_of_writes(database: Path) -> list[Path]:
    folder = database / FOLDER
    if not (folder / MANIFEST).exists():
        return []
    # Lines such as: file appendonly.aof.1.incr.aof seq 1 type i
    text = (folder / MANIFEST).read_text(errors="replace")
    named = re.findall(r"^file (\S+) seq \d+ type i *$", text, re.MULTILINE)
    return [folder / name for name in named] if "\0" not in text else []


def _number(file: Path) -> int:
    """The number in a name such as `appendonly.aof.12.incr.aof`."""
    return int(file.name.split(".")[2])


def _whole_writes(data: mmap.mmap, end: int) -> tuple[int, int, bool, datetime | None]:
    """Where the last whole write ends; where reading stopped; whether at something that `end` cuts, or else at damage;
    and the last time that was read."""
    whole, position, in_transaction, since = 0, 0, False, None
    while position < end:
        line = data[position : min(position + 32, end)]
        if time := re.match(rb"#TS:(\d{1,12})\r\n", line):
            since = datetime.fromtimestamp(int(time[1])).astimezone()
            position += time.end()
        else:
            behind, name = _command(data, position, end)
            if behind is None:
                return whole, position, name == b"cut", since
            position = behind
            in_transaction = name == b"MULTI" or (in_transaction and name != b"EXEC")
        if not in_transaction:
            whole = position
    return whole, position, True, since


def _command(data: mmap.mmap, position: int, end: int) -> tuple[int | None, bytes]:
    """Where the command ends, and its name; or None and why: `cut` by the end, or `damaged`."""
    name, parts = b"", 1
    number, kind = 0, rb"\*"
    while number <= parts:
        line = data[position : min(position + 16, end)]
        if not (length := re.match(kind + rb"(\d{1,9})\r\n", line)):
            is_begun = re.fullmatch(rb"(" + kind + rb"(\d{1,9}\r?)?)?", line)
            return None, b"cut" if is_begun else b"damaged"
        position += length.end()
        if kind == rb"\*":
            parts, kind = int(length[1]), rb"\$"
        else:
            behind = position + int(length[1])
            if behind + 2 > end:
                return None, b"cut"
            if data[behind : behind + 2] != b"\r\n":
                return None, b"damaged"
            if number == 1:
                name = data[position : min(behind, position + 16)].upper()
            position = behind + 2
        number += 1
    return position, name
