"""Datasets as tensors. What is not bundled is read from the user's folder; images are downloaded there on first use."""

import fcntl
import gzip
import hashlib
import sys
import time
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import urlopen

import numpy as np
import torch
from torch import Tensor
from torchvision import datasets

from cct.config import DATASETS, TEXT_LENGTH
from cct.texts import Labelled, encode, read_ag_news, read_trec, vocabulary_of

TIMEOUT_SECONDS = 20.0
PROGRESS_SECONDS = 5.0

CIFAR: dict[str, type[datasets.CIFAR10]] = {"cifar10": datasets.CIFAR10, "cifar100": datasets.CIFAR100}
MNIST: dict[str, type[datasets.MNIST]] = {"mnist": datasets.MNIST, "fashion_mnist": datasets.FashionMNIST}
"""Addresses, checksums and layouts are torchvision's."""

TEXTS: dict[str, tuple[Callable[[Path], list[Labelled]], str, str]] = {
    "ag_news": (read_ag_news, "train.csv", "test.csv"),
    "trec": (read_trec, "train_5500.label", "TREC_10.label"),
}
"""How the files of a dataset of texts are read, and their published names: training and test split."""


class DatasetUnavailable(Exception):
    """A dataset is neither in the user's folder nor can it be downloaded; the message names the way out."""


@dataclass(frozen=True, slots=True)
class Split:
    """Images `(count, 3, size, size)` as uint8, or texts, and their labels `(count,)` as int64."""

    images: Tensor
    """Of texts: the numbers of their words, `(count, words)`, int32."""
    labels: Tensor
    vocabulary: tuple[str, ...] = ()
    """The words that have the numbers."""

    def to(self, device: torch.device) -> "Split":
        return Split(self.images.to(device), self.labels.to(device), self.vocabulary)


def load(name: str, folder: Path) -> tuple[Split, Split]:
    """The training and the test split of a dataset of `DATASETS`.

    Looks in `folder/name` and in `folder`; downloads images to `folder/name`. Raises `DatasetUnavailable`.
    """
    if name in CIFAR:
        return _cifar(name, folder)
    if name in MNIST:
        return _idx(name, folder)
    if name in TEXTS:
        return _texts(name, folder)
    return _digits()


def _digits() -> tuple[Split, Split]:
    """scikit-learn's 8x8 digits, enlarged; every fifth image of a class is in the test split."""
    # Read from scikit-learn's file: importing scikit-learn takes longer than training for an epoch.
    package = find_spec("sklearn")
    if package is None or not package.submodule_search_locations:
        raise DatasetUnavailable("dataset digits comes with scikit-learn; install the package scikit-learn")
    table = np.loadtxt(Path(package.submodule_search_locations[0], "datasets/data/digits.csv.gz"), delimiter=",")
    pixels = torch.tensor(table[:, :64], dtype=torch.float32).reshape(-1, 1, 8, 8) * (255 / 16)
    enlarged = torch.nn.functional.interpolate(pixels, size=(32, 32), mode="bilinear").round().to(torch.uint8)
    labels = torch.tensor(table[:, 64], dtype=torch.int64)
    by_class = labels.argsort(stable=True)
    in_test = torch.arange(len(labels)) % 5 == 0
    train, test = by_class[~in_test], by_class[in_test]
    return _rgb(enlarged[train], labels[train]), _rgb(enlarged[test], labels[test])


def _cifar(name: str, folder: Path) -> tuple[Split, Split]:
    reader = CIFAR[name]
    places = (folder / name, folder)
    root = next((root for root in places if (root / reader.base_folder).is_dir()), folder / name)
    try:
        # torchvision compares checksums before it unpickles.
        parts = [reader(root, train=train) for train in (True, False)]
    except RuntimeError:
        with _downloading(name, folder / name, reader.filename) as target:
            _download([reader.url], target / reader.filename, reader.tgz_md5)
            parts = [reader(target, train=train, download=True) for train in (True, False)]
    train, test = (
        Split(torch.from_numpy(part.data).permute(0, 3, 1, 2).contiguous(), torch.tensor(part.targets))
        for part in parts
    )
    return train, test


def _idx(name: str, folder: Path) -> tuple[Split, Split]:
    """MNIST or Fashion-MNIST from idx files, as published or as Debian packages them, zero-padded to 32x32."""
    reader = MNIST[name]
    # Both datasets' files have the same names: only a folder's name tells which they are.
    named = [folder / name, folder / name.replace("_", "-"), folder / reader.__name__]
    if folder.name.lower().replace("-", "_") == name:
        named.append(folder)
    places = [place for root in named for place in (root, root / "raw", root / reader.__name__ / "raw")]
    files = [archive.removesuffix(".gz") for archive, _ in reader.resources]
    if not all(_find(places, file) for file in files):
        with _downloading(name, folder / name, ", ".join(archive for archive, _ in reader.resources)) as target:
            for archive, md5 in reader.resources:
                _download([mirror + archive for mirror in reader.mirrors], target / archive, md5)
    train_pixels, train_labels, test_pixels, test_labels = (_read_idx(_find(places, file)) for file in files)
    return _rgb(_padded(train_pixels), train_labels), _rgb(_padded(test_pixels), test_labels)


def _texts(name: str, folder: Path) -> tuple[Split, Split]:
    """AG News or TREC from their published files; the vocabulary is that of the training texts."""
    read, *files = TEXTS[name]
    # AG News' files have common names: another dataset's may be in `folder` itself.
    places = [folder / name, folder / f"{name}_csv"] if name == "ag_news" else [folder / name, folder]
    splits: list[list[Labelled]] = []
    for file in files:
        path = next((place / file for place in places if (place / file).is_file()), None)
        if path is None:
            raise DatasetUnavailable(
                f"dataset {name} is not downloaded by the board: put the files published as {DATASETS[name].title} "
                f"({', '.join(files)}) into {folder / name}, or name the folder that has it with --data or "
                "CCTBOARD_DATASETS"
            )
        try:
            splits.append(read(path))
        except (OSError, ValueError) as error:
            raise DatasetUnavailable(f"{path} cannot be read ({error}); put the published file there") from error
    vocabulary = vocabulary_of((text for _, text in splits[0]), DATASETS[name].vocabulary_size)
    train, test = (
        Split(
            encode([text for _, text in labelled], vocabulary, TEXT_LENGTH),
            torch.tensor([label for label, _ in labelled]),
            vocabulary,
        )
        for labelled in splits
    )
    return train, test


def _find(places: list[Path], file: str) -> Path | None:
    return next((path for place in places for path in (place / file, place / f"{file}.gz") if path.is_file()), None)


def _read_idx(path: Path | None) -> Tensor:
    """An idx file of unsigned bytes: two zeros, type 8, number of dimensions, their sizes, then the values."""
    assert path
    try:
        content = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
        if content[:3] != b"\0\0\x08":
            raise ValueError("it does not begin like one")
        dimensions = content[3]
        shape = np.frombuffer(content, ">u4", dimensions, offset=4).astype(int)
        values = np.frombuffer(content, np.uint8, offset=4 + 4 * dimensions).reshape(shape)
    except (OSError, EOFError, ValueError, zlib.error) as error:
        raise DatasetUnavailable(
            f"{path} is not a whole idx file of bytes ({error}); put the published file there"
        ) from error
    return torch.from_numpy(values.copy())


def _padded(pixels: Tensor) -> Tensor:
    return torch.nn.functional.pad(pixels.unsqueeze(1), [2, 2, 2, 2])


def _rgb(grey: Tensor, labels: Tensor) -> Split:
    return Split(grey.expand(-1, 3, -1, -1).contiguous(), labels.to(torch.int64))


@contextmanager
def _downloading(name: str, target: Path, files: str) -> Iterator[Path]:
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


def _download(addresses: list[str], path: Path, md5: str) -> None:
    """Fetches a file that is not there yet, from the first address that works; it appears whole or not at all."""
    if path.exists() and _md5(path) == md5:
        return
    part = path.with_name(f"{path.name}.part")
    for address in addresses:
        try:
            fetch(address, part)
            break
        except OSError:
            if address == addresses[-1]:
                raise
    if _md5(part) != md5:
        raise RuntimeError(f"{path.name} arrived damaged")
    part.replace(path)


def fetch(address: str, path: Path) -> None:
    """Downloads a file. Raises `OSError`, also if the connection ends early or leads from https to http."""
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
    except HTTPError as error:
        error.close()  # it keeps the connection
        raise


def _md5(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
