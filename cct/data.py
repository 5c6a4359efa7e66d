"""Datasets as tensors. What is not bundled is read from the user's folder; images are downloaded there on first use."""

import gzip
import sys
import zlib
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torchvision import datasets

from cct.download import DatasetUnavailable, download, downloading, md5_of
from cct.held_out import content_of, contents_of, hold_out
from cct.image_files import (
    CACHE,
    MARGIN,
    ImageFiles,
    decoded,
    find_flowers,
    find_image_folder,
    find_test_images,
    find_training_images,
)
from cct.named_datasets import DATASETS
from cct.named_models import TEXT_LENGTH
from cct.texts import Labelled, encode, read_ag_news, read_trec, vocabulary_of

CIFAR: dict[str, type[datasets.CIFAR10]] = {"cifar10": datasets.CIFAR10, "cifar100": datasets.CIFAR100}
MNIST: dict[str, type[datasets.MNIST]] = {"mnist": datasets.MNIST, "fashion_mnist": datasets.FashionMNIST}
"""Addresses, checksums and layouts are torchvision's."""

TEXTS: dict[str, tuple[Callable[[Path], list[Labelled]], str, str]] = {
    "ag_news": (read_ag_news, "train.csv", "test.csv"),
    "trec": (read_trec, "train_5500.label", "TREC_10.label"),
}
"""How the files of a dataset of texts are read, and their published names: training and test split."""

RESIDENT_SHARE = 0.5
"""The share of a GPU's free memory that a split may take; a larger one stays on the host."""


@dataclass(frozen=True, slots=True)
class Split:
    """Images `(count, 3, size, size)` as uint8, or texts, and their labels `(count,)` as int64."""

    images: Tensor
    """Texts are the numbers of their words, `(count, words)`, int32. May be mapped from a file larger than memory."""
    labels: Tensor
    vocabulary: tuple[str, ...] = ()
    """The words that have the numbers."""
    class_names: tuple[str, ...] = ()
    """The names of a folder's classes in the order of the labels; else empty."""
    bits: int = 0
    """The bits by which images of 16 are scaled, those that the training images' values take; 0 if there are none."""
    texts: tuple[str, ...] = ()
    """The texts as they were read; empty for images."""
    held_out_sha256: str = ""
    """A checksum of what is in a split that was held out of the training data."""

    def to(self, device: torch.device) -> "Split":
        """The split for use on a device.

        Images that would take too much of its memory stay where they are, to be moved in turn; on a CPU, those that are
        mapped from a file stay so.
        """
        fits = device.type != "cuda" or self.images.nbytes <= RESIDENT_SHARE * torch.cuda.mem_get_info(device)[0]
        return replace(self, images=self.images.to(device) if fits else self.images, labels=self.labels.to(device))


def to_device(values: Tensor, device: torch.device) -> Tensor:
    """Moves values without making the host wait until a GPU has done what it was told before."""
    if values.device.type == "cpu" and device.type == "cuda":
        return values.pin_memory().to(device, non_blocking=True)
    return values.to(device)


def equally_large(count: int, split: Split) -> int:
    """How many of the split's images take the memory of `count` images of 32 pixels."""
    return count * 3 * 32 * 32 // split.images[0].nbytes


def batches(images: Tensor, labels: Tensor, size: int) -> Iterator[tuple[Tensor, Tensor]]:
    """So many images at a time with their labels; the last are fewer."""
    return zip(torch.split(images, size), torch.split(labels, size), strict=True)


def load(
    name: str, folder: Path, image_size: int = 32, image_folder: str = "", val_share: float = 0.0
) -> tuple[Split, Split]:
    """The training and the test split of a dataset of `DATASETS`; with a `val_share`, what is left of the training
    split and what is held out of it, and the test split is not read.

    Looks in `folder/name` and in `folder`; downloads images to `folder/name`. Images of all sizes become squares that
    are larger than `image_size` by `MARGIN`. Raises `DatasetUnavailable`.
    """
    if name == "image_folder":
        root = folder / name / image_folder
        if val_share:
            files, class_names = find_training_images(root)
            return _held_out_squares(files, val_share, image_size, f"{name}/{image_folder}", folder, class_names)
        train, test, class_names = find_image_folder(root)
        return _squares((train, test), image_size, f"{name}/{image_folder}", folder, class_names)
    if name == "flowers102":
        train, test = find_flowers(folder)
        if val_share:
            return _held_out_squares(train, val_share, image_size, name, folder)
        return _squares((train, test), image_size, name, folder)
    if name in TEXTS:
        return _texts(name, folder, val_share)
    read = _cifar if name in CIFAR else _idx if name in MNIST else _digits
    splits = read(name, folder, with_test=not val_share)
    return _hold_out(splits[0], val_share, DATASETS[name].class_names) if val_share else (splits[0], splits[1])


def load_test(name: str, folder: Path, train: Split, image_size: int = 32, image_folder: str = "") -> Split | None:
    """The test split beside a training split that something was held out of; None if an image folder has none.

    Raises `DatasetUnavailable`.
    """
    if name == "image_folder":
        files = find_test_images(folder / name / image_folder)
        source = f"{name}/{image_folder}-test"
        return _of_squares(files, image_size, source, folder, train.class_names, train.bits) if files else None
    if name == "flowers102":
        return _of_squares(find_flowers(folder)[1], image_size, f"{name}-test", folder, (), train.bits)
    if name in TEXTS:
        return _encoded(_read_texts(name, folder, TEXTS[name][2]), train.vocabulary)
    read = _cifar if name in CIFAR else _idx if name in MNIST else _digits
    return read(name, folder, with_test=True)[1]


def duplicates(train: Split, val: Split) -> int:
    """How many of the validation images (by their pixels) or texts (by their lines) are in the training split, too."""
    if train.texts:
        known = set(train.texts)
        return sum(text in known for text in val.texts)
    found = Counter(content_of(image) for image in val.images.numpy())
    return sum(found.pop(content_of(image), 0) for image in train.images.numpy())


def _hold_out(split: Split, share: float, class_names: Sequence[str]) -> tuple[Split, Split]:
    contents = [content_of(image) for image in split.images.numpy()]
    held_out, rest, checksum = hold_out(split.labels.tolist(), contents, share, class_names)
    train, val = (Split(split.images[chosen], split.labels[chosen]) for chosen in map(torch.tensor, (rest, held_out)))
    return train, replace(val, held_out_sha256=checksum)


def _held_out_squares(
    files: ImageFiles, share: float, image_size: int, name: str, folder: Path, class_names: tuple[str, ...] = ()
) -> tuple[Split, Split]:
    """Holds files out by their content, and not by that of their squares, whose size is the model's.

    What is held out comes first in the one file of squares, whatever the share is, so that it is decoded once.
    """
    names = class_names or DATASETS[name].class_names
    held_out, rest, checksum = hold_out(files.labels, contents_of(files.paths), share, names)
    order = [*held_out, *rest]
    ordered = ImageFiles([files.paths[number] for number in order], [files.labels[number] for number in order])
    whole = _of_squares(ordered, image_size, f"{name}-all", folder, class_names)
    images, labels = (torch.split(part, [len(held_out), len(rest)]) for part in (whole.images, whole.labels))
    val, train = (replace(whole, images=images[part], labels=labels[part]) for part in (0, 1))
    return train, replace(val, held_out_sha256=checksum)


def _squares(
    splits: Sequence[ImageFiles], image_size: int, name: str, folder: Path, class_names: tuple[str, ...] = ()
) -> tuple[Split, Split]:
    train = _of_squares(splits[0], image_size, f"{name}-train", folder, class_names)
    return train, _of_squares(splits[1], image_size, f"{name}-test", folder, class_names, train.bits)


def _of_squares(
    files: ImageFiles,
    image_size: int,
    name: str,
    folder: Path,
    class_names: tuple[str, ...],
    bits: int | None = None,
) -> Split:
    squares, used = decoded(files, round(MARGIN * image_size), name, folder / CACHE, bits)
    if used and bits is None:
        told = f"images of 16 bits are scaled by {2**used - 1}, which holds the highest value of the training images"
        print(told, file=sys.stderr, flush=True)
    return Split(squares, torch.tensor(files.labels), class_names=class_names, bits=used)


def _digits(name: str, folder: Path, with_test: bool) -> list[Split]:
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
    parts = [by_class[~in_test], by_class[in_test]] if with_test else [by_class[~in_test]]
    return [_rgb(enlarged[part], labels[part]) for part in parts]


def _cifar(name: str, folder: Path, with_test: bool) -> list[Split]:
    published = CIFAR[name]
    first = published.train_list[0][0]
    places = [(root, inside) for root in (folder / name, folder) for inside in (published.base_folder, "")]
    found = [place for place in places if Path(*place, first).is_file()]
    root, inside = found[0] if found else places[0]
    reader = type(published.__name__, (published,), {"base_folder": inside})
    wanted = (True, False) if with_test else (True,)
    try:
        # torchvision compares checksums before it unpickles.
        parts = [reader(root, train=train) for train in wanted]
    except RuntimeError:
        try:
            with downloading(name, folder / name, published.filename) as target:
                download([published.url], target / published.filename, published.tgz_md5)
                parts = [published(target, train=train, download=True) for train in wanted]
        except DatasetUnavailable as error:
            if found and (wrong := _not_as_published(published, root / inside)):
                raise DatasetUnavailable(
                    f"{root / inside} is not {DATASETS[name].title} as published: {wrong}; put the published files "
                    "there, or connect this machine to the network so that they are downloaded"
                ) from error
            raise
    return [
        Split(torch.from_numpy(part.data).permute(0, 3, 1, 2).contiguous(), torch.tensor(part.targets))
        for part in parts
    ]


def _not_as_published(published: type[datasets.CIFAR10], folder: Path) -> str:
    """Which files are missing or differ."""
    wrong = []
    for name, checksum in (*published.train_list, *published.test_list):
        if not (folder / name).is_file():
            wrong.append(f"{name} is missing")
        elif md5_of(folder / name) != checksum:
            wrong.append(f"{name} is damaged or another file")
    return ", ".join(wrong)


def _idx(name: str, folder: Path, with_test: bool) -> list[Split]:
    """MNIST or Fashion-MNIST from idx files, as published or as Debian packages them, zero-padded to 32x32."""
    reader = MNIST[name]
    # Both datasets' files have the same names: only a folder's name tells which they are.
    named = [folder / name, folder / name.replace("_", "-"), folder / reader.__name__]
    if folder.name.lower().replace("-", "_") == name:
        named.append(folder)
    places = [place for root in named for place in (root, root / "raw", root / reader.__name__ / "raw")]
    files = [archive.removesuffix(".gz") for archive, _ in reader.resources][: None if with_test else 2]
    found = [_find(places, file) for file in files]
    if not all(found):
        with downloading(name, folder / name, ", ".join(archive for archive, _ in reader.resources)) as target:
            for archive, md5 in reader.resources:
                download([mirror + archive for mirror in reader.mirrors], target / archive, md5)
        found = [_find(places, file) for file in files]
    paths = [path for path in found if path]
    return [_idx_split(name, images, labels) for images, labels in zip(paths[::2], paths[1::2], strict=True)]


def _idx_split(name: str, images: Path, labels: Path) -> Split:
    """Raises `DatasetUnavailable` if the files do not belong together or are not of this dataset."""
    pixels, numbers, info = _read_idx(images), _read_idx(labels), DATASETS[name]
    side, wrong = (info.image_size or 0) - 2 * info.border, None
    if tuple(pixels.shape[1:]) != (side, side) or not len(pixels):
        wrong = f"{images} has {_shape(pixels)} values instead of images of {side}x{side}"
    elif numbers.dim() != 1:
        wrong = f"{labels} has {_shape(numbers)} values instead of one label for each image"
    elif len(pixels) != len(numbers):
        wrong = f"{images} has {len(pixels):,} images, but {labels} has {len(numbers):,} labels"
    elif int(numbers.max()) >= (info.num_classes or 0):
        seen = f"{int(numbers.min())} to {int(numbers.max())}"
        wrong = f"{labels} has labels from {seen}, but {info.title} has classes 0 to {(info.num_classes or 0) - 1}"
    if wrong:
        raise DatasetUnavailable(
            f"{wrong}; put the files published as {info.title} there, or images of your own into an image_folder"
        )
    return _rgb(torch.nn.functional.pad(pixels.unsqueeze(1), [info.border] * 4), numbers)


def _shape(values: Tensor) -> str:
    return "x".join(map(str, values.shape))


def _texts(name: str, folder: Path, val_share: float) -> tuple[Split, Split]:
    """AG News or TREC from their published files; the vocabulary is that of the training texts."""
    _, *files = TEXTS[name]
    splits = [_read_texts(name, folder, file) for file in (files[:1] if val_share else files)]
    checksum = ""
    if val_share:
        [whole] = splits
        contents = [content_of(text.encode()) for _, text in whole]
        names = DATASETS[name].class_names
        held_out, rest, checksum = hold_out([label for label, _ in whole], contents, val_share, names)
        splits = [[whole[number] for number in part] for part in (rest, held_out)]
    vocabulary = vocabulary_of((text for _, text in splits[0]), DATASETS[name].vocabulary_size)
    train, test = (_encoded(labelled, vocabulary) for labelled in splits)
    return train, replace(test, held_out_sha256=checksum)


def _read_texts(name: str, folder: Path, file: str) -> list[Labelled]:
    read, *files = TEXTS[name]
    # AG News' files have common names: another dataset's may be in `folder` itself.
    places = [folder / name, folder / f"{name}_csv"] if name == "ag_news" else [folder / name, folder]
    path = next((place / file for place in places if (place / file).is_file()), None)
    if path is None:
        raise DatasetUnavailable(
            f"dataset {name} is not downloaded by the board: put the files published as {DATASETS[name].title} "
            f"({', '.join(files)}) into {folder / name}, or name the folder that has it with --data or "
            "CCTBOARD_DATASETS"
        )
    try:
        if labelled := read(path):
            return labelled
        raise ValueError("it has no texts")
    except (OSError, ValueError) as error:
        raise DatasetUnavailable(f"{path} cannot be read ({error}); put the published file there") from error


def _encoded(labelled: Sequence[Labelled], vocabulary: tuple[str, ...]) -> Split:
    texts = tuple(text for _, text in labelled)
    labels = torch.tensor([label for label, _ in labelled])
    return Split(encode(texts, vocabulary, TEXT_LENGTH), labels, vocabulary, texts=texts)


def _find(places: list[Path], file: str) -> Path | None:
    """The file, compressed or not; some programs that unpack it write a dot before `idx`."""
    names = [f"{stem}{suffix}" for stem in (file, file.replace("-idx", ".idx")) for suffix in ("", ".gz")]
    return next((path for place in places for name in names if (path := place / name).is_file()), None)


def _read_idx(path: Path) -> Tensor:
    """An idx file of unsigned bytes: two zeros, type 8, number of dimensions, their sizes, then the values."""
    try:
        content = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
        if content[:3] != b"\0\0\x08":
            raise ValueError("it does not begin like one")
        dimensions = content[3]
        shape = np.frombuffer(content, ">u4", dimensions, offset=4).astype(int)
        values = np.frombuffer(content, np.uint8, offset=4 + 4 * dimensions).reshape(shape)
    except (OSError, EOFError, ValueError, IndexError, zlib.error) as error:
        raise DatasetUnavailable(
            f"{path} is not a whole idx file of bytes ({error}); put the published file there"
        ) from error
    return torch.from_numpy(values.copy())


def _rgb(grey: Tensor, labels: Tensor) -> Split:
    return Split(grey.expand(-1, 3, -1, -1).contiguous(), labels.to(torch.int64))
