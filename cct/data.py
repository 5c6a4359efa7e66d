"""Datasets as uint8 tensors. What is not bundled is read from the user's folder or downloaded there on first use."""

import fcntl
import gzip
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.error import URLError

import numpy as np
import torch
from torch import Tensor
from torchvision import datasets

from cct.config import DATASETS

DOWNLOAD_TIMEOUT_SECONDS = 20.0
SPLIT_SEED = 0
"""Of the digits' stratified split, which is the same for all runs."""


class DatasetUnavailable(Exception):
    """A dataset is neither in the user's folder nor can it be downloaded; the message names the way out."""


@dataclass(frozen=True, slots=True)
class Split:
    """Images `(count, 3, size, size)` as uint8 and their labels `(count,)` as int64."""

    images: Tensor
    labels: Tensor

    def to(self, device: torch.device) -> "Split":
        return Split(self.images.to(device), self.labels.to(device))


def load(name: str, folder: Path) -> tuple[Split, Split]:
    """The training and the test split of a dataset of `DATASETS`.

    Looks in `folder/name`, then in `folder`; downloads to `folder/name`. Raises `DatasetUnavailable`.
    """
    match name:
        case "digits":
            return _digits()
        case "cifar10" | "cifar100":
            return _cifar(name, folder)
        case "mnist" | "fashion_mnist":
            return _idx(name, folder, "train"), _idx(name, folder, "t10k")
    raise KeyError(name)


def _digits() -> tuple[Split, Split]:
    # Imported here because only this dataset needs it.
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    digits = load_digits()
    small = torch.tensor(digits.images, dtype=torch.float32).unsqueeze(1) * (255 / 16)
    size = DATASETS["digits"].image_size
    images = torch.nn.functional.interpolate(small, size=(size, size), mode="bilinear").round().to(torch.uint8)
    labels = torch.tensor(digits.target)
    train, test = train_test_split(
        np.arange(len(labels)), test_size=DATASETS["digits"].test_size, stratify=digits.target, random_state=SPLIT_SEED
    )
    return _rgb(images[train], labels[train]), _rgb(images[test], labels[test])


def _rgb(grey: Tensor, labels: Tensor) -> Split:
    return Split(grey.expand(-1, 3, -1, -1).contiguous(), labels.to(torch.int64))


def _cifar(name: str, folder: Path) -> tuple[Split, Split]:
    reader = datasets.CIFAR10 if name == "cifar10" else datasets.CIFAR100
    root = next((root for root in (folder / name, folder) if (root / reader.base_folder).is_dir()), folder / name)
    with _downloading(name, root):
        # torchvision verifies checksums before it unpickles, downloads only what is missing or damaged, and then shows
        # its progress.
        parts = [reader(str(root), train=train, download=True) for train in (True, False)]
    train, test = (
        Split(torch.from_numpy(part.data).permute(0, 3, 1, 2).contiguous(), torch.tensor(part.targets))
        for part in parts
    )
    return train, test


def _idx(name: str, folder: Path, split: str) -> Split:
    """One split of MNIST or Fashion-MNIST from idx files, as published or as Debian packages them."""
    reader = datasets.MNIST if name == "mnist" else datasets.FashionMNIST
    own = folder / name
    places = (own, own / reader.__name__ / "raw", folder / reader.__name__ / "raw", folder)
    paths = [_find(places, f"{split}-{kind}-ubyte") for kind in ("images-idx3", "labels-idx1")]
    if None in paths:
        with _downloading(name, own):
            reader(str(own), download=True)
        paths = [_find(places, f"{split}-{kind}-ubyte") for kind in ("images-idx3", "labels-idx1")]
    pixels, labels = (_read_idx(path) for path in paths if path)
    padded = torch.nn.functional.pad(pixels.unsqueeze(1), [2, 2, 2, 2])
    return _rgb(padded, labels)


def _find(places: tuple[Path, ...], name: str) -> Path | None:
    return next((path for place in places for path in (place / name, place / f"{name}.gz") if path.is_file()), None)


def _read_idx(path: Path) -> Tensor:
    """An idx file of unsigned bytes: two zeros, type 8, number of dimensions, their sizes, then the values."""
    content = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    if content[:3] != b"\0\0\x08":
        raise DatasetUnavailable(f"{path} is not an idx file of unsigned bytes; replace it with the published file")
    dimensions = content[3]
    shape = np.frombuffer(content, ">u4", dimensions, offset=4).astype(int)
    values = np.frombuffer(content, np.uint8, offset=4 + 4 * dimensions)
    return torch.from_numpy(values.reshape(shape).copy())


@contextmanager
def _downloading(name: str, root: Path) -> Iterator[None]:
    """One process downloads, others wait; what goes wrong becomes `DatasetUnavailable`."""
    root.mkdir(parents=True, exist_ok=True)
    timeout = socket.getdefaulttimeout()
    with (root / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        socket.setdefaulttimeout(DOWNLOAD_TIMEOUT_SECONDS)
        try:
            yield
        except (URLError, RuntimeError, OSError) as error:
            reason = " ".join(str(error).split())
            raise DatasetUnavailable(
                f"dataset {name} is not in {root} and cannot be downloaded ({reason}); connect this machine to the "
                f"network, or put the published files of {DATASETS[name].title} into {root}, or name the folder that "
                "has them with CCTBOARD_DATASETS"
            ) from error
        finally:
            socket.setdefaulttimeout(timeout)
