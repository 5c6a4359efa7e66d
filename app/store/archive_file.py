"""The file of a backup: a tar archive that knows what it holds, so that it is either whole or refused.

`manifest.json` with the format, then `experiments/<id>.json`, `runs/<id>.json`, `checkpoints/<run id>/<file>`, and last
`contents.json` with the size and the SHA-256 of each member before it. Format 1, of version 0.1, has no contents; that
it is whole is seen from the blocks of zeros with which a tar archive ends.
"""

import hashlib
import io
import json
import lzma
import re
import shutil
import tarfile
import tempfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, Literal, cast

from app.errors import Invalid

FORMAT = 2
MANIFEST, CONTENTS = "manifest.json", "contents.json"
_MEMBER = re.compile(r"(?:experiments|runs)/[0-9a-f]{12}\.json|checkpoints/[0-9a-f]{12}/[\w-]+\.(?:pt|safetensors|npz)")
_BLOCK = 1 << 20

Kind = Literal["experiments", "runs", "checkpoints"]


class ArchiveWriter:
    """Writes members one after the other to a stream; without `close` the archive is one that is refused."""

    def __init__(self, target: IO[bytes], version: str, **facts: Any) -> None:
        self._tar = tarfile.open(fileobj=cast(IO[bytes], _Output(target)), mode="w")  # noqa: SIM115
        self._contents: dict[str, dict[str, Any]] = {}
        self.add_json(MANIFEST, {"format": FORMAT, "version": version, **facts})

    def add_json(self, name: str, content: Any) -> None:
        data = json.dumps(content).encode()
        self.add_file(name, io.BytesIO(data))

    def add_file(self, name: str, file: IO[bytes]) -> None:
        """Adds the whole content of a file that is open at its beginning."""
        info = tarfile.TarInfo(name)
        info.size = file.seek(0, io.SEEK_END)
        file.seek(0)
        hashing = _Hashing(file)
        self._tar.addfile(info, cast(IO[bytes], hashing))
        self._contents[name] = {"bytes": info.size, "sha256": hashing.digest.hexdigest()}

    def close(self) -> None:
        self.add_json(CONTENTS, self._contents)
        self._tar.close()


class _Output:
    """A stream to write to that tells how far it is, as a pipe does not. (What `tarfile` has for pipes writes once more
    when it is forgotten, into a file that is closed.)"""

    def __init__(self, target: IO[bytes]) -> None:
        self._target = target
        self._written = 0

    def write(self, data: bytes) -> int:
        self._target.write(data)
        self._written += len(data)
        return len(data)

    def tell(self) -> int:
        return self._written


class _Hashing:
    """Passes on what is read of a file, and knows its SHA-256."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self.digest = hashlib.sha256()

    def read(self, size: int) -> bytes:
        block = self._file.read(size)
        self.digest.update(block)
        return block


class WholeArchive:
    """An archive of which every byte has been read and compared with what the archive says it holds."""

    manifest: dict[str, Any]

    def __init__(self, tar: tarfile.TarFile) -> None:
        """Raises `Invalid`, and what the modules of the standard library raise for a damaged file."""
        self._tar = tar
        self._members: dict[str, tarfile.TarInfo] = {}
        found: dict[str, dict[str, Any]] = {}
        contents: dict[str, Any] | None = None
        for member in tar:
            if not member.isfile() or (member.name not in (MANIFEST, CONTENTS) and not _MEMBER.fullmatch(member.name)):
                raise Invalid("archive", f"holds {member.name!r}, which no backup writes")
            if member.name in self._members or contents is not None:
                raise Invalid("archive", f"holds {member.name!r} twice or after its end; take another copy")
            self._members[member.name] = member
            if member.name == MANIFEST:
                self.manifest = _known_format(self.read_json(MANIFEST))
            if next(iter(self._members)) != MANIFEST:
                raise Invalid("archive", f"is not an archive of a board: it does not begin with {MANIFEST}")
            if member.name == CONTENTS:
                contents = self.read_json(CONTENTS)
            else:
                with self.open(member.name) as file:
                    digest = hashlib.file_digest(cast(Any, file), "sha256").hexdigest()
                found[member.name] = {"bytes": member.size, "sha256": digest}
        self._check_end()
        if contents is None:
            if self.manifest["format"] == FORMAT:
                raise _cut_off(len(found))
        elif contents != found:
            differing = sorted(name for name in {*contents, *found} if contents.get(name) != found.get(name))
            raise Invalid(
                "archive", f"is damaged: {', '.join(differing[:3])} not as it was written; take another copy of it"
            )

    def _check_end(self) -> None:
        """An archive that was cut between two members, or has a damaged header, ends like a whole one for `tarfile`."""
        stream = cast(IO[bytes], self._tar.fileobj)
        stream.seek(self._tar.offset)
        end = stream.read(2 * tarfile.BLOCKSIZE)
        if len(end) < 2 * tarfile.BLOCKSIZE or any(end):
            raise _cut_off(len(self._members))

    def names(self, kind: Kind) -> list[str]:
        """The members of this kind, in their order."""
        return [name for name in self._members if name.startswith(f"{kind}/")]

    def open(self, name: str) -> IO[bytes]:
        return cast(IO[bytes], self._tar.extractfile(self._members[name]))

    def read_json(self, name: str) -> dict[str, Any]:
        """Raises `ValueError`."""
        with self.open(name) as file:
            return cast(dict[str, Any], json.load(file))


@contextmanager
def whole_archive(source: IO[bytes], spool: Path) -> Iterator[WholeArchive]:
    """The archive in a file, or in a stream that is copied to the folder `spool` first, checked as a whole.

    Raises `Invalid` if anything of it is missing, damaged or of a newer format.
    """
    with _seekable(source, spool) as file:
        try:
            tar = tarfile.open(fileobj=file, mode="r:*")  # noqa: SIM115
            archive = WholeArchive(tar)
        except (tarfile.TarError, EOFError, zlib.error, lzma.LZMAError, ValueError) as error:
            raise Invalid("archive", f"is not an archive of a board, or damaged: {error}") from error
        with tar:
            yield archive


@contextmanager
def _seekable(source: IO[bytes], spool: Path) -> Iterator[IO[bytes]]:
    if source.seekable():
        yield source
        return
    spool.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryFile(dir=spool) as file:
        shutil.copyfileobj(source, file, _BLOCK)
        file.seek(0)
        yield file


def _known_format(manifest: dict[str, Any]) -> dict[str, Any]:
    if (found := manifest.get("format")) not in (1, FORMAT):
        raise Invalid(
            "archive",
            f"has format {found}, written by version {manifest.get('version')}; this version reads formats 1 to "
            f"{FORMAT}: use that version or a newer one",
        )
    return manifest


def _cut_off(members: int) -> Invalid:
    return Invalid("archive", f"is cut off or damaged after {members} members: its end is missing; take another copy")
