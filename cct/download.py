"""Files of datasets from their publishers: fetched once, verified, and there whole or not at all."""

import fcntl
import hashlib
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPException
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import urlopen

from cct.named_datasets import DATASETS

TIMEOUT_SECONDS = 20.0
PROGRESS_SECONDS = 5.0


class DatasetUnavailable(Exception):
    """A dataset is neither in the user's folder nor can it be downloaded; the message names the way out."""


@contextmanager
def downloading(name: str, target: Path, files: str) -> Iterator[Path]:
    """One process downloads, others wait; what goes wrong becomes `DatasetUnavailable`."""
    try:
        target.mkdir(parents=True, exist_ok=True)
        with (target / ".lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield target
    except (OSError, RuntimeError) as error:
        reason = " ".join(str(error).split())
        raise DatasetUnavailable(
            f"dataset {name} is not in {target} and cannot be downloaded ({reason}); connect this machine to the "
            f"network, or put the files published as {DATASETS[name].title} ({files}) into {target}, or name the "
            "folder that has them with --data or CCTBOARD_DATASETS"
        ) from error


def download(addresses: list[str], path: Path, md5: str) -> None:
    """Fetches a file that is not there yet, from the first address that works; it appears whole or not at all."""
    if path.exists() and md5_of(path) == md5:
        return
    part = path.with_name(f"{path.name}.part")
    for address in addresses:
        try:
            fetch(address, part)
            break
        except OSError:
            if address == addresses[-1]:
                raise
    if md5_of(part) != md5:
        raise RuntimeError(f"{path.name} arrived damaged")
    part.replace(path)


def fetch(address: str, path: Path) -> None:
    """Downloads a file. Raises `OSError`, also if the connection ends early or leads from https to http.

    And if the address or the answer is malformed.
    """
    try:
        with urlopen(address, timeout=TIMEOUT_SECONDS) as response, path.open("wb") as file:
            if address.startswith("https:") and not response.url.startswith("https:"):
                raise OSError(f"it is redirected to {response.url}, without https")
            total, reported = int(response.headers.get("Content-Length", 0)), 0.0
            while block := response.read(1 << 20):
                file.write(block)
                if time.monotonic() - reported > PROGRESS_SECONDS:
                    reported = time.monotonic()
                    share = f"{file.tell() >> 20} of {total >> 20} MiB"
                    print(f"downloading {path.stem}: {share}", file=sys.stderr, flush=True)
            if total and file.tell() != total:
                raise OSError(f"the connection ended after {file.tell()} of {total} bytes")
            file.flush()
            os.fsync(file.fileno())  # before it gets the name by which it is trusted
    except HTTPError as error:
        error.close()  # it keeps the connection
        raise
    except (HTTPException, ValueError) as error:
        raise OSError(f"{type(error).__name__}: {error}") from error


def md5_of(path: Path) -> str:
    """The checksum with which publishers name their files."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
