"""Checkpoints of a run: written atomically, so that a kill at any instant leaves the previous one valid."""

import io
import pickle
from dataclasses import asdict
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor

from cct.spec import RunSpec
from cct.whole_file import whole_file

LAST = "last.pt"
BEST = "best.pt"

UNREADABLE = (OSError, EOFError, RuntimeError, ValueError, LookupError, pickle.UnpicklingError)
"""What torch raises for a file that is damaged or something else."""


class CheckpointMismatch(Exception):
    """The folder holds a checkpoint of another spec."""


class CheckpointNotWritten(Exception):
    """The disk does not take the checkpoint; the one before, if any, is still valid."""


class UnusableWeights(Exception):
    """A file of weights is missing or damaged, or the model has other weights."""


def save(folder: Path, name: str, content: dict[str, Any]) -> None:
    """Writes `folder/name` completely or not at all. Raises `CheckpointNotWritten`."""
    # In memory first: torch hides the reason when a disk fails it.
    buffer = io.BytesIO()
    torch.save(content, buffer)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with whole_file(folder / name) as file:
            file.write(buffer.getbuffer())
    except OSError as error:
        raise CheckpointNotWritten(
            f"cannot write {folder / name} ({error.strerror}); make room there; what was saved before is still valid"
        ) from error


def load_last(folder: Path, spec: RunSpec) -> dict[str, Any] | None:
    """The newest checkpoint of this spec, its tensors in host memory; None if there is none.

    Removes what killed processes left half written. Raises `CheckpointMismatch`, `UnusableWeights`.
    """
    for unfinished in folder.glob("*.tmp"):
        unfinished.unlink(missing_ok=True)
    path = folder / LAST
    if not path.exists():
        return None
    # On the CPU, where AdamW keeps its step counts; the model and the optimizer take the rest to their device.
    try:
        content: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
        saved, wanted = asdict(RunSpec.stored(content["spec"])), asdict(spec)
    except OSError as error:
        raise UnusableWeights(f"{path} cannot be read ({error.strerror}); let this user read it") from error
    except UNREADABLE as error:
        raise UnusableWeights(
            f"{path} is damaged or no checkpoint ({_reason(error)}); put the right one there, or name another folder"
        ) from error
    if differing := sorted(name for name in wanted if saved[name] != wanted[name]):
        raise CheckpointMismatch(f"{path} belongs to another spec ({', '.join(differing)} differ); use another folder")
    return content


def read_snapshot(path: Path) -> tuple[dict[str, Tensor], int]:
    """The weights in a run's `LAST` or `BEST` and the epoch after which they were saved.

    The file is mapped, not read: most of `LAST` is the optimizer's. Training may replace it meanwhile. Raises
    `UnusableWeights`.
    """
    try:
        content = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
        return content["model"], content["epoch"] if path.name == BEST else len(content["records"])
    except UNREADABLE as error:
        raise UnusableWeights(f"{path.name} cannot be read ({_reason(error)})") from error


def read_weights(path: Path) -> dict[str, Tensor]:
    """The state dict in a file, in host memory: of `.safetensors`, of a checkpoint here, or of the reference's `.pth`.

    It may be the whole file or its entry `state_dict` or `model`. Raises `UnusableWeights`; no code in it is run.
    """
    if not path.is_file():
        raise UnusableWeights(f"there is no file {path}")
    content: Any
    try:
        if path.suffix == ".safetensors":
            content = safetensors.torch.load_file(path)
        else:
            content = torch.load(path, map_location="cpu", weights_only=True)
    except (*UNREADABLE, SafetensorError) as error:
        raise UnusableWeights(f"{path} cannot be read as a file of weights ({_reason(error)})") from error
    weights = content
    if isinstance(content, dict):
        weights = next((content[key] for key in ("state_dict", "model") if key in content), content)
    if not isinstance(weights, dict) or not all(map(_is_entry, weights.items())):
        raise UnusableWeights(f"{path} holds no state dict, neither at its top nor as `state_dict` or `model`")
    return dict(weights)


def _is_entry(item: tuple[object, object]) -> bool:
    """Whether a key and its value may belong to a state dict: fractions of 16 bits and more, in host memory."""
    key, value = item
    if not isinstance(key, str) or not isinstance(value, Tensor):
        return False
    is_dense = value.layout == torch.strided and not value.is_nested and value.device.type == "cpu"
    return is_dense and value.is_floating_point() and value.dtype.itemsize > 1


def _reason(error: Exception) -> str:
    if isinstance(error, pickle.UnpicklingError):  # which torch would have run
        return "there is something else in it"
    return str(error).strip().split("\n")[0] or type(error).__name__


def export_safetensors(checkpoint_path: Path, out_path: Path) -> None:
    """Writes a checkpoint's weights, and nothing else of it, as safetensors under the reference's keys.

    Raises `UnusableWeights` if the checkpoint cannot be read, `OSError` if the file cannot be written.
    """
    weights = {key: value.contiguous() for key, value in read_weights(checkpoint_path).items()}
    with whole_file(out_path) as file:
        file.write(safetensors.torch.save(weights, metadata={"format": "pt"}))
