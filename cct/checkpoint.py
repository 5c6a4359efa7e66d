"""Checkpoints of a run: written atomically, so that a kill at any instant leaves the previous one valid."""

import os
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from cct.config import RunSpec

LAST = "last.pt"
BEST = "best.pt"


class CheckpointMismatch(Exception):
    """The folder holds a checkpoint of another spec."""


def save(folder: Path, name: str, content: dict[str, Any]) -> None:
    """Writes `folder/name` completely or not at all."""
    folder.mkdir(parents=True, exist_ok=True)
    temporary = folder / f"{name}.{os.getpid()}.tmp"
    try:
        with temporary.open("wb") as file:
            torch.save(content, file)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(folder / name)
    finally:
        temporary.unlink(missing_ok=True)
    directory = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


def load_last(folder: Path, spec: RunSpec) -> dict[str, Any] | None:
    """The newest checkpoint of this spec, its tensors in host memory; None if there is none.

    Raises `CheckpointMismatch`.
    """
    path = folder / LAST
    if not path.exists():
        return None
    # On the CPU, where AdamW keeps its step counts; the model and the optimizer take the rest to their device.
    content: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    saved, wanted = asdict(RunSpec.stored(content["spec"])), asdict(spec)
    if differing := sorted(name for name in wanted if saved[name] != wanted[name]):
        raise CheckpointMismatch(f"{path} belongs to another spec ({', '.join(differing)} differ); use another folder")
    return content
