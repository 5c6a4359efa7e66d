"""Files of weights, from here and from elsewhere: which of what they hold is the state dict, and under which names."""

import argparse
import collections
import json
import pathlib
import pickle
import re
import shutil
import tempfile
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.torch
import torch
from safetensors import safe_open
from torch import Tensor

from cct.card import CARD, Card
from cct.whole_file import whole_file

UNREADABLE = Exception
"""What torch and safetensors raise for a file that is damaged or something else: whatever their readers trip over."""

ENTRIES = (
    *("state_dict_ema", "model_ema", "ema_state_dict"),
    *("state_dict", "model", "model_state_dict", "net"),
)
"""Where training programs put a state dict. An average over the steps (EMA) comes first: it is what its program has
validated, and by which it chose the best epoch."""

PREFIXES = ("module.", "_orig_mod.", "model.")
"""What wrappers (data parallelism, compilation, Lightning) put before every name."""

VOCABULARY = "vocabulary"
"""The entry, or in safetensors the metadata, that has the words of a text model's embedding in their order."""

_HARMLESS: list[Any] = [
    argparse.Namespace,
    collections.defaultdict,
    pathlib.PosixPath,
    np.dtype,
    np.ndarray,
    *(type(np.dtype(kind)) for kind in ("f8", "f4", "f2", "i8", "i4", "u1", "?")),
    # What makes NumPy's numbers and arrays, under its names in NumPy 1 and 2.
    *((np.float64().__reduce__()[0], f"numpy.{core}.multiarray.scalar") for core in ("core", "_core")),
    *((np.empty(0).__reduce__()[0], f"numpy.{core}.multiarray._reconstruct") for core in ("core", "_core")),
]
"""Types that training programs save beside the weights: settings and measurements. They only hold values."""


class UnusableWeights(Exception):
    """A file of weights is missing or damaged, or the model has other weights."""


@dataclass(frozen=True, slots=True)
class Weights:
    """A state dict in host memory."""

    tensors: dict[str, Tensor]
    entry: str
    """The entry of the file that it was, empty for the file as a whole."""
    vocabulary: tuple[str, ...] = ()
    """The words whose vectors a text model's embedding holds, in their order; empty if the file does not say."""
    card: Card | None = None
    """What the file says of them, if it is from here."""


def read_weights(path: Path) -> Weights:
    """The state dict in a file: in safetensors, a checkpoint from here, or what another program has saved with PyTorch.

    What the file holds decides, not its name. It may be packed as a zip archive, and the whole file or one of
    `ENTRIES`; `PREFIXES` that all names share are left out, and so are integers (counters of batches, numbers of
    positions), which no model here has. Raises `UnusableWeights`; no code in the file is run.
    """
    if not path.is_file():
        raise UnusableWeights(f"there is no file {path}")
    try:
        with _unpacked(path) as file:
            return _read(file, path)
    except UnusableWeights:
        raise
    except UNREADABLE as error:
        raise UnusableWeights(f"{path} cannot be read as a file of weights ({reason(error)})") from error


def _read(file: Path, path: Path) -> Weights:
    """The state dict in a file, which was given as `path`."""
    if _is_safetensors(file):
        with safe_open(file, "pt") as opened:
            told = opened.metadata() or {}
        tensors, vocabulary = _named(safetensors.torch.load_file(file)), json.loads(told.get(VOCABULARY, "[]"))
        return Weights(tensors, "", tuple(vocabulary), Card.read(told.get(CARD)))
    if _is_torch_script(file):
        raise UnusableWeights(
            f"{path} is a TorchScript program; save its weights: torch.save(torch.jit.load(FILE).state_dict(), ...)"
        )
    # The file and not its name, by which torch would choose what it expects in it.
    with torch.serialization.safe_globals(_HARMLESS), file.open("rb") as stream:
        content = torch.load(stream, map_location="cpu", weights_only=True)
    if not isinstance(content, dict):
        raise UnusableWeights(f"{path} holds a {type(content).__name__} and no state dict; {_SAVE_AGAIN}")
    vocabulary = content.get(VOCABULARY, ())
    if not isinstance(vocabulary, list | tuple) or not all(isinstance(word, str) for word in vocabulary):
        vocabulary = ()
    card = Card.read(content.get(CARD))
    if card:
        check_checksums(file)
    for entry in ENTRIES:
        if isinstance(content.get(entry), dict):
            tensors = _state_dict(content[entry], f"{path}, in its {entry},")
            return Weights(tensors, entry, tuple(vocabulary), card)
    return Weights(_state_dict(content, str(path)), "")


def check_checksums(file: Path) -> None:
    """Compares the checksums in a file that `torch.save` has written, which `torch.load` reads past: a weight with a
    wrong bit would be used. Raises `UnusableWeights`.

    Only for files from here: programs may leave the checksums out.
    """
    with zipfile.ZipFile(file) as archive:
        if damaged := archive.testzip():
            raise UnusableWeights(f"the checksum of {damaged} in it does not fit")


@contextmanager
def _unpacked(path: Path) -> Iterator[Path]:
    """The file itself or, of a zip archive that holds a single one, that one: so the reference publishes some. Archives
    that PyTorch writes hold several."""
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            held = [name for name in archive.namelist() if not name.startswith("__MACOSX/") and not name.endswith("/")]
            if len(held) == 1:
                with tempfile.NamedTemporaryFile() as whole, archive.open(held[0]) as part:
                    shutil.copyfileobj(part, whole)
                    whole.flush()
                    yield Path(whole.name)
                return
    yield path


_SAVE_AGAIN = "save it again with torch.save(model.state_dict(), ...)"


def _is_safetensors(path: Path) -> bool:
    """A length in 8 bytes, then JSON; the archives and pickles of PyTorch begin otherwise."""
    with path.open("rb") as file:
        return file.read(9)[8:] == b"{"


def _is_torch_script(path: Path) -> bool:
    if not zipfile.is_zipfile(path):
        return False
    with zipfile.ZipFile(path) as archive:
        return any(name.endswith("/constants.pkl") for name in archive.namelist())


def _state_dict(content: dict[Any, Any], where: str) -> dict[str, Tensor]:
    """Raises `UnusableWeights`, which names the first entry that is not dense numbers in host memory under a name."""
    for key, value in content.items():
        is_tensor = isinstance(key, str) and isinstance(value, Tensor)
        if not is_tensor or value.layout != torch.strided or value.is_nested or value.device.type != "cpu":
            found = f"{type(value).__name__} {value.layout}" if isinstance(value, Tensor) else type(value).__name__
            raise UnusableWeights(f"{where} holds {key!r}, a {found}, and so no state dict; {_SAVE_AGAIN}")
        if value.is_floating_point() and value.dtype.itemsize < 2:
            raise UnusableWeights(f"{where} holds {key!r} as {value.dtype}, too coarse to start from; {_SAVE_AGAIN}")
    if not content:
        raise UnusableWeights(f"{where} holds nothing; {_SAVE_AGAIN}")
    return _named(content)


def _named(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Without integers, and without prefixes that all names share."""
    tensors = {key: value for key, value in tensors.items() if value.is_floating_point()}
    while prefix := next((one for one in PREFIXES if tensors and all(key.startswith(one) for key in tensors)), None):
        tensors = {key.removeprefix(prefix): value for key, value in tensors.items()}
    return tensors


def reason(error: Exception) -> str:
    """Why a file cannot be read, in a few words."""
    if isinstance(error, KeyError):
        return f"it has no {error}"
    if isinstance(error, pickle.UnpicklingError):
        # What torch does not read could run code.
        unknown = re.search(r"GLOBAL ([\w.]+)", str(error))
        return f"there is {f'a {unknown[1]}' if unknown else 'something else'} in it; {_SAVE_AGAIN}"
    return str(error).strip().split("\n")[0] or type(error).__name__


def export_safetensors(checkpoint_path: Path, out_path: Path) -> None:
    """Writes a checkpoint's weights as safetensors under the reference's keys, and what it says of them.

    Raises `UnusableWeights` if the checkpoint cannot be read, `OSError` if the file cannot be written.
    """
    weights = read_weights(checkpoint_path)
    metadata = {"format": "pt"}
    if weights.vocabulary:
        metadata[VOCABULARY] = json.dumps(weights.vocabulary)
    if weights.card:
        metadata[CARD] = weights.card.told
    tensors = {key: value.contiguous() for key, value in weights.tensors.items()}
    with whole_file(out_path) as file:
        file.write(safetensors.torch.save(tensors, metadata=metadata))
