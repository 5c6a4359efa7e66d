"""Datasets of image files of any size: decoded once, to squares in one file that is mapped into memory.

So a dataset may be larger than the memory: the system reads what a step needs, and keeps what fits.
"""

import fcntl
import hashlib
import math
import os
import sys
import tarfile
import time
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TypeVar
from urllib.parse import quote

import numpy as np
import PIL.Image
import PIL.ImageOps
import torch
from torch import Tensor
from torchvision.datasets import Flowers102

from cct.download import PROGRESS_SECONDS, DatasetUnavailable, download, downloading, md5_of
from cct.pixels import UNREADABLE, bits_of, in_colour

CACHE = "decoded_images"
"""Folder of the squares, in the folder of the datasets."""

MARGIN = 256 / 224
"""Side of the squares by that of what models see of them, which leaves room for random crops."""

TEST = "test"
TEST_FOLDERS = ("val", "valid", "validation", TEST)
"""Beside `train`, the first of them that is there has the images that are not trained on."""

_FORMAT = 3
"""Number of the way in which squares are stored; those of another number are decoded anew."""

_BLOCK = 256
"""Images that are decoded before they are written: bounds the memory."""

_LEFT_BY_SYSTEMS = ("Thumbs.db", "desktop.ini")

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class ImageFiles:
    """A training or a test split: its files and the number of each one's class."""

    paths: list[Path]
    labels: list[int]


def find_image_folder(folder: Path) -> tuple[ImageFiles, ImageFiles, tuple[str, ...]]:
    """Training and test split of `folder/train/CLASS/...` and one of `TEST_FOLDERS`, and the classes' names.

    Names are sorted; classes may have folders in them. Raises `DatasetUnavailable` if something is not as it should be.
    """
    train_folder = folder / "train"
    test_folder = next((folder / name for name in TEST_FOLDERS if (folder / name).is_dir()), folder / TEST_FOLDERS[0])
    _check_is_there(train_folder)
    _check_is_there(test_folder, ", or hold out a share of the training images, such as 0.2, with val_share")
    classes = _class_names(train_folder)
    _check_same_classes(train_folder, classes, test_folder)
    _check_classes(train_folder, classes)
    train, test = (_of_classes(part, classes) for part in (train_folder, test_folder))
    return train, test, tuple(classes)


def find_training_images(folder: Path) -> tuple[ImageFiles, tuple[str, ...]]:
    """The images of `folder/train/CLASS/...`, some of which are to be held out, and the classes' names, sorted.

    Raises `DatasetUnavailable`.
    """
    train_folder = folder / "train"
    _check_is_there(train_folder)
    if others := [name for name in TEST_FOLDERS if name != TEST and (folder / name).is_dir()]:
        raise DatasetUnavailable(
            f"{folder} has a folder {others[0]} to validate on, so nothing is held out of train; set val_share to 0, "
            f"or rename {others[0]} to {TEST}, which is then read once, when a run has ended, or move its images "
            "elsewhere"
        )
    classes = _class_names(train_folder)
    if (folder / TEST).is_dir():
        _check_same_classes(train_folder, classes, folder / TEST)
    _check_classes(train_folder, classes)
    return _of_classes(train_folder, classes), tuple(classes)


def find_test_images(folder: Path) -> ImageFiles | None:
    """The images of `folder/test/CLASS/...`, where training images are held out to validate on; None without them.

    Raises `DatasetUnavailable`.
    """
    if not (folder / TEST).is_dir():
        return None
    return _of_classes(folder / TEST, _class_names(folder / TEST))


def _check_same_classes(train_folder: Path, classes: list[str], test_folder: Path) -> None:
    if odd := sorted({*classes} ^ {*_class_names(test_folder)}):
        only, lacking = (train_folder, test_folder) if odd[0] in classes else (test_folder, train_folder)
        raise DatasetUnavailable(f"{only} has a class {odd[0]!r}, which {lacking} lacks; both need the same classes")


def _check_is_there(folder: Path, or_else: str = "") -> None:
    if not folder.is_dir():
        raise DatasetUnavailable(
            f"there is no folder {folder}; make it, with one folder of images for each class, or name the folder of "
            f"the datasets that has it with --data or CCTBOARD_DATASETS{or_else}"
        )


def _check_classes(folder: Path, classes: list[str]) -> None:
    if len(classes) < 2:
        raise DatasetUnavailable(f"{folder} has {len(classes)} classes; at least two folders are needed")
    if unprintable := [name for name in classes if not name.isprintable()]:
        raise DatasetUnavailable(f"the folder {unprintable[0]!a} in {folder} has no readable name; rename it")


def _class_names(folder: Path) -> list[str]:
    try:
        return sorted(entry.name for entry in folder.iterdir() if entry.is_dir() and not entry.name.startswith("."))
    except OSError as error:
        raise DatasetUnavailable(f"{folder} cannot be read ({error.strerror}); let this user read it") from error


def _of_classes(folder: Path, classes: list[str]) -> ImageFiles:
    files = ImageFiles([], [])
    for label, name in enumerate(classes):
        paths = sorted(_files_below(folder / name))
        if not paths:
            raise DatasetUnavailable(f"{folder / name} has no images; put some there, or remove the class everywhere")
        files.paths.extend(paths)
        files.labels.extend([label] * len(paths))
    return files


def _files_below(folder: Path) -> Iterator[Path]:
    for inside, folders, names in os.walk(folder, followlinks=True):
        folders[:] = [name for name in folders if not name.startswith(".") and not _leads_up(Path(inside, name))]
        yield from (Path(inside, name) for name in names if name[0] != "." and name not in _LEFT_BY_SYSTEMS)


def _leads_up(folder: Path) -> bool:
    """Whether a folder is a link to one that it is in, which would be followed without end."""
    return folder.is_symlink() and folder.parent.resolve().is_relative_to(folder.resolve())


def find_flowers(folder: Path) -> tuple[ImageFiles, ImageFiles]:
    """Oxford 102 Flower: its training and validation images together, as is usual, and its test images.

    Looks in `folder/flowers102` and `folder`; downloads to the former. Raises `DatasetUnavailable`.
    """
    published = {part: name for part, (name, _) in Flowers102._file_dict.items()}
    needed = ("jpg", published["label"], published["setid"])
    places = (folder / "flowers102", folder / "flowers102" / "flowers-102", folder / "flowers-102", folder)
    root = next((place for place in places if all((place / name).exists() for name in needed)), None)
    if root is None:
        with downloading("flowers102", folder / "flowers102", ", ".join(published.values())) as root:
            for name, md5 in Flowers102._file_dict.values():
                download([Flowers102._download_url_prefix + name], root / name, md5)
            _unpack(root / published["image"], root / "jpg")
    for part in ("label", "setid"):
        name, md5 = Flowers102._file_dict[part]
        try:
            found = md5_of(root / name)
        except OSError as error:
            raise DatasetUnavailable(
                f"{root / name} cannot be read ({error.strerror}); let this user read it"
            ) from error
        # SciPy's reader can end the whole process at a damaged one.
        if found != md5:
            raise DatasetUnavailable(f"{root / name} is damaged or another file; put the published one there")
    from scipy.io import loadmat  # takes long to import

    labels = loadmat(root / published["label"])["labels"].ravel()
    ids = loadmat(root / published["setid"])
    splits = [np.concatenate([ids[name].ravel() for name in names]) for names in (("trnid", "valid"), ("tstid",))]
    train, test = (
        ImageFiles(
            [root / "jpg" / f"image_{number:05}.jpg" for number in numbers],
            [int(labels[number - 1]) - 1 for number in numbers],
        )
        for numbers in splits
    )
    return train, test


def _unpack(archive: Path, folder: Path) -> None:
    """Unpacks the archive's folder of the same name, which appears whole or not at all."""
    if folder.exists():
        return
    part = folder.with_name(f"{folder.name}.part")
    with tarfile.open(archive) as tar:
        # Without it (before Python 3.11.4) the archive is unpacked as it is: its checksum was compared.
        tar.extraction_filter = getattr(tarfile, "data_filter", None)
        tar.extractall(part)
    (part / folder.name).rename(folder)
    part.rmdir()


def decoded(files: ImageFiles, side: int, name: str, folder: Path, bits: int | None = None) -> tuple[Tensor, int]:
    """The images as squares `(count, 3, side, side)`, uint8, mapped from a file in `folder`; at first they are decoded.

    And by how many bits those of 16 are scaled, 0 if there are none: those that the training images' values take,
    which are found out, or `bits`, what was found out of these. One process decodes, others wait. The file has a
    `name`, and is replaced when an image was changed. Raises `DatasetUnavailable`, which names images that cannot be
    read or tells why the file cannot be written.
    """
    shape = (len(files.paths), 3, side, side)
    name = f"{quote(name, safe='')[-80:]}-{side}"
    stem = f"{name}-{_fingerprint(files.paths, folder, bits)}"

    def whole() -> Path | None:
        """The file, whose name tells the bits."""
        found = folder.glob(f"{stem}.*.uint8")
        return next((path for path in found if path.stat().st_size == math.prod(shape)), None)

    try:
        if (path := whole()) is None:
            folder.mkdir(parents=True, exist_ok=True)
            with _locked(folder / ".lock"):
                if (path := whole()) is None:
                    used = (
                        max(_of_each(_bits_of_file, files.paths, "looking for images of 16 bits"))
                        if bits is None
                        else bits
                    )
                    path = folder / f"{stem}.{used}.uint8"
                    _decode(files.paths, side, used, path)
                    _forget_others(name, path)
    except OSError as error:
        raise DatasetUnavailable(
            f"the decoded images, {math.prod(shape) >> 20:,} MiB, cannot be written to {folder} "
            f"({error.strerror or error}); make room there and let this user write, or name another folder of the "
            "datasets with --data or CCTBOARD_DATASETS, where the images may be links"
        ) from error
    # For reading only: the system does not map more than the memory if a process may change its copy.
    squares = np.memmap(path, np.uint8, "r", shape=shape)
    with warnings.catch_warnings(action="ignore"):  # torch has no tensors that are for reading only
        return torch.from_numpy(squares), int(path.stem.rpartition(".")[2])


def _fingerprint(paths: list[Path], folder: Path, bits: int | None) -> str:
    """A hash of what decides on the squares beside their size: files as seen from `folder`, when they changed, and by
    what they are scaled unless they decide on that themselves.

    Programs can set the time of modification back, but not that of the change of the file's entry, nor keep its inode
    when they put another file in its place.
    """
    digest = hashlib.sha256(f"{_FORMAT} {bits}".encode())
    for path in paths:
        try:
            status = path.stat()
        except OSError as error:
            raise DatasetUnavailable(f"{path} cannot be read ({error.strerror}); put it there") from error
        place = os.fsencode(os.path.relpath(path, folder))
        digest.update(
            f"\n{status.st_size} {status.st_mtime_ns} {status.st_ctime_ns} {status.st_ino} {place!r}".encode()
        )
    return digest.hexdigest()[:16]


def _bits_of_file(path: Path) -> int:
    try:
        with PIL.Image.open(path) as image:
            return bits_of(image)
    except UNREADABLE:
        return 0  # which is told when it is decoded


def _decode(paths: list[Path], side: int, bits: int, target: Path) -> None:
    """Writes the squares, completely or not at all."""
    part = target.with_suffix(".part")
    problems: list[str] = []
    try:
        with part.open("wb") as file:
            for square in _of_each(partial(_square, side=side, bits=bits), paths, "decoding images"):
                if isinstance(square, str):
                    problems.append(square)
                elif not problems:
                    file.write(square)
            file.flush()
            os.fsync(file.fileno())
        if problems:
            more = f" and {len(problems) - 3:,} more" if len(problems) > 3 else ""
            raise DatasetUnavailable(
                f"cannot be read as images: {'; '.join(problems[:3])}{more}; remove or replace them"
            )
        part.replace(target)
    finally:
        part.unlink(missing_ok=True)


def _of_each(function: Callable[[Path], T], paths: list[Path], doing: str) -> Iterator[T]:
    """What the function says of each file, in threads; tells now and then how far it is."""
    reported = time.monotonic()
    with ThreadPoolExecutor(torch.get_num_threads()) as pool:
        for start in range(0, len(paths), _BLOCK):
            yield from pool.map(function, paths[start : start + _BLOCK])
            if time.monotonic() - reported > PROGRESS_SECONDS:
                reported = time.monotonic()
                print(f"{doing}: {start:,} of {len(paths):,}", file=sys.stderr, flush=True)


def _square(path: Path, side: int, bits: int = 0) -> bytes | str:
    """The middle square of an image, `side` pixels wide, channel by channel; or why it cannot be read.

    As if the shorter side were resized to `side` and the longer one cut.
    """
    try:
        with PIL.Image.open(path) as image:
            draft(image, side)
            fitted = PIL.ImageOps.fit(in_colour(image, bits), (side, side), PIL.Image.Resampling.BICUBIC)
    except UNREADABLE as error:
        return f"{path} ({error or type(error).__name__})"
    return np.asarray(fitted).transpose(2, 0, 1).tobytes()


def draft(image: PIL.Image.Image, side: int) -> None:
    """Has a photo much larger than needed unpacked at a fraction of its size."""
    image.draft("RGB", (2 * side, 2 * side))


def _forget_others(name: str, path: Path) -> None:
    """Removes squares of the dataset as it was before; who trains on them keeps them until it ends.

    And what a killed process left half written: only one decodes at a time.
    """
    for other in [*path.parent.glob("*.uint8"), *path.parent.glob("*.part")]:
        if other.stem.rpartition("-")[0] == name and other != path:
            other.unlink()


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Waits for other processes, and tells so now and then: who is silent for long is taken for dead."""
    with path.open("w") as lock:
        reported = time.monotonic()
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                time.sleep(0.2)
            if time.monotonic() - reported > PROGRESS_SECONDS:
                reported = time.monotonic()
                print("waiting for another process that decodes images", file=sys.stderr, flush=True)
        yield
