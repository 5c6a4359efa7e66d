"""What a run's numbers depend on beside its spec: code, versions, device, arithmetic, and what was read."""

import ast
import hashlib
import platform
import re
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import numpy as np
import torch
import torchvision

from cct.catalog import poolings
from cct.checkpoint import CheckpointMismatch
from cct.data import Split
from cct.device import device_name
from cct.events import BETWEEN_CLASSES, CODE_OF, EXTENDED
from cct.machine import processor_name
from cct.pooling import POOLINGS, pooling_class
from cct.spec import RunSpec

MAX_NAMES = 8_000
"""Characters of the classes' names that are kept with a run; classes of longer ones are known by their numbers."""


DEEP_IMAGES = "images_of_16_bits"
"""The entry that tells by what they are scaled; without it there are none."""

_DATA = ("dataset_sha256", "classes")
_SINCE = "; from epoch {}: "


def provenance_of(spec: RunSpec, device: torch.device, splits: tuple[Split, Split]) -> dict[str, str]:
    """What a run's numbers depend on, by a settled spec on a device; the splits are in host memory or mapped."""
    checksum = hashlib.sha256()
    for split in splits:
        checksum.update(split.images.numpy().data)
        checksum.update(split.labels.numpy().data)
        checksum.update("\n".join(split.vocabulary).encode())
    return {
        "cctboard": _version(),
        "python": platform.python_version(),
        "torch": str(torch.__version__),  # of a class of its own, which a checkpoint cannot hold
        "torchvision": torchvision.__version__,
        "numpy": np.__version__,
        "device": device_name(device),
        **({"processor": _processor()} if device.type == "cpu" else {}),
        "precision": spec.precision,
        "compile": spec.compile,
        "threads": str(torch.get_num_threads()),
        **_code(spec.pooling),
        "dataset_sha256": checksum.hexdigest(),
        **({DEEP_IMAGES: f"scaled by {2 ** splits[0].bits - 1}"} if splits[0].bits else {}),
        **({"held_out_sha256": splits[1].held_out_sha256} if splits[1].held_out_sha256 else {}),
        **_found(*splits),
    }


def continued(before: dict[str, str], now: dict[str, str], epoch: int) -> dict[str, str]:
    """The provenance of a run that goes on with an epoch, counted from 1: what has changed is told with that epoch.

    Raises `CheckpointMismatch` if it would go on with other data.
    """
    if other := [key for key in _DATA if before.get(key) != now.get(key)]:
        raise CheckpointMismatch(
            f"the dataset is not what it was when epoch {epoch - 1} ended ({', '.join(other)} differ); put its files "
            "back as they were, or train another run on it"
        )

    def told(key: str) -> str:
        value = before.get(key, "not recorded")
        newest = re.split(_SINCE.format(r"\d+"), value)[-1]
        is_the_same = newest == now[key] or {newest, now[key]} == {"off", "graph"}  # which compute the same
        return value if is_the_same else value + _SINCE.format(epoch) + now[key]

    return before | {key: told(key) for key in now}


def bits_recorded(provenance: Mapping[str, str]) -> int:
    """The bits by which images of 16 were scaled; 0 if there were none."""
    return int(provenance.get(DEEP_IMAGES, "0").rpartition(" ")[2]).bit_length()


def extended_at(before: dict[str, str], after: int) -> dict[str, str]:
    """The part of the provenance that tells after which epochs a run was extended: now `after` one, if it is not 0."""
    epochs = [number for number in before.get(EXTENDED, "").split(", ") if number]
    if after and str(after) not in epochs:
        epochs.append(str(after))
    return {EXTENDED: ", ".join(epochs)} if epochs else {}


def sha256_of(path: Path) -> str:
    """The checksum of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _code(pooling: str) -> dict[str, str]:
    """Checksums of this package without the poolings' classes, and of the classes that make up this pooling.

    Apart, so that the class of a new pooling makes no difference to runs of the others, and a changed one does to runs
    of its own. What stands between definitions, such as comments, does not count.
    """
    registered, ancestry = (
        {kind.__name__ for kind in kinds if kind.__module__ == pooling_class.__module__}
        for kinds in (POOLINGS.values(), pooling_class(pooling).__mro__)
    )
    # The full name of an own pooling tells its code outside this package.
    shared, own = hashlib.sha256(), hashlib.sha256(pooling.encode() if pooling not in poolings() else b"")
    for path in sorted(Path(__file__).parent.glob("*.py")):
        text = path.read_text(encoding="utf-8")
        lines = text.splitlines()
        for node in ast.parse(text).body:
            first = min([node.lineno, *(decorator.lineno for decorator in getattr(node, "decorator_list", []))])
            code = "\n".join(lines[first - 1 : node.end_lineno]).encode()
            if not isinstance(node, ast.ClassDef) or node.name not in registered:
                shared.update(code)
            elif node.name in ancestry:
                own.update(code)
    return {"code": shared.hexdigest()[:16], f"{CODE_OF}{pooling}": own.hexdigest()[:16]}


def _version() -> str:
    try:
        return version("cctboard")
    except PackageNotFoundError:
        return "not installed"


def _processor() -> str:
    """The processor's model and the vector instructions that are used: another one may round otherwise."""
    return f"{processor_name()}, {torch.backends.cpu.get_cpu_capability()}"


def _found(train_split: Split, test_split: Split) -> dict[str, str]:
    """What is known of an image folder, or of what is held out, only since it was read."""
    is_held_out = bool(test_split.held_out_sha256)
    if not train_split.class_names and not is_held_out:
        return {}
    sizes = str(len(train_split.labels)), str(len(test_split.labels))
    found = dict(zip(("train_images", "held_out_images" if is_held_out else "test_images"), sizes, strict=True))
    names = BETWEEN_CLASSES.join(train_split.class_names)
    return found | ({"classes": names} if names and len(names) <= MAX_NAMES else {})
