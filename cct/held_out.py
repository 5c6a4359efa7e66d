"""Which of the training images or texts are held out to validate on: a share of each class.

The choice depends on nothing but what the images or texts are. It is the same for all runs, whatever their seed, on all
machines and for all models, whatever the files are called; what is there twice is held out twice, or not at all.
"""

import hashlib
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from cct.download import DatasetUnavailable

SEED = b"cctboard 1"
"""Another one would hold out others."""


def content_of(values: Any) -> bytes:
    """A hash of an image's pixels, a contiguous array, or of bytes."""
    return hashlib.blake2b(values, digest_size=16, salt=SEED).digest()


def contents_of(paths: Sequence[Path]) -> list[bytes]:
    """Hashes of files. Raises `DatasetUnavailable`."""

    def of_file(path: Path) -> bytes:
        try:
            return content_of(path.read_bytes())
        except OSError as error:
            raise DatasetUnavailable(f"{path} cannot be read ({error.strerror}); let this user read it") from error

    with ThreadPoolExecutor() as pool:
        return list(pool.map(of_file, paths))


def hold_out(
    labels: Sequence[int], contents: Sequence[bytes], share: float, class_names: Sequence[str]
) -> tuple[list[int], list[int], str]:
    """The numbers of what is held out and of the rest, and a checksum of the former.

    Both together are in the same order for all shares. Raises `DatasetUnavailable` if a class would have nothing on
    one of the sides.
    """
    places = dict(_places(labels, contents))
    order = sorted(places, key=lambda number: (places[number], contents[number], number))
    held_out = [number for number in order if places[number] < share]
    rest = order[len(held_out) :]
    held_of_class = Counter(labels[number] for number in held_out)
    for label, size in sorted(Counter(labels).items()):
        if (held := held_of_class[label]) in (0, size):
            name = class_names[label] if class_names else str(label)
            raise DatasetUnavailable(
                f"val_share {share:g} would hold out {'none' if not held else 'all'} of the {size} training images or "
                f"texts of class {name!r}; use a {'larger' if not held else 'smaller'} share, or add some"
            )
    checksum = hashlib.sha256(b"".join(sorted(contents[number] for number in held_out)))
    return held_out, rest, checksum.hexdigest()


def _places(labels: Sequence[int], contents: Sequence[bytes]) -> Iterator[tuple[int, float]]:
    """A number from 0 to 1 for each image or text: its place in its class, in the order of the hashes.

    What is there twice has the first one's.
    """
    members: dict[int, list[int]] = {}
    for number, label in enumerate(labels):
        members.setdefault(label, []).append(number)
    for numbers in members.values():
        place, before = 0.0, b""
        for rank, number in enumerate(sorted(numbers, key=contents.__getitem__)):
            if contents[number] != before:
                place, before = (rank + 0.5) / len(numbers), contents[number]
            yield number, place
